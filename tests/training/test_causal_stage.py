"""Stage causal: a block is told what a memory would hold, and nothing of what comes after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from longvie.engine.memory import Window
from longvie.training.stages import causal
from longvie.training.stages.causal import BLOCK, CausalStage, block_mask, block_of, carried_at, damaged, whole_clips
from longvie.training.windows import ALL
from made import clip_latents, noisy_pool, small_models


def numbers(latents: torch.Tensor) -> list[int]:
    """Which latent frame each is, of clips whose values say it; pictures are the first stream."""
    return latents[0, 0, :, 0, 0].round().int().tolist()


def whole() -> tuple[list, object]:
    clips = [clip_latents(0), clip_latents(1)]
    return clips, whole_clips(clips, np.random.Generator(np.random.PCG64(1)), ALL)


def test_a_block_has_its_own_frames_and_those_that_a_memory_keeps() -> None:
    clips, window = whole()
    for now in range(0, causal.LATENTS - BLOCK + 1, BLOCK):
        block = block_of(window, now, *carried_at(clips, window, now, None))
        assert numbers(block.clean) == [now, now + 1, now + 2]
        assert numbers(block.past) == Window(3, 6).kept(now)
        assert block.frames == len(Window(3, 6).kept(now)) + BLOCK
        depth = next(control for control in block.controls if control.branch == "dense")
        assert [at % 100 for at in numbers(depth.latents)] == [*Window(3, 6).kept(now), now, now + 1, now + 2]
        assert block.beats.shape[1] == block.frames


def test_blocks_see_themselves_and_those_before() -> None:
    mask = block_mask((0, 0, 0, 1, 1, 1, 2, 2, 2))
    assert mask.shape == (9, 9)
    assert mask[0].tolist() == [True] * 3 + [False] * 6
    assert mask[8].all() and mask[3:6, :6].all() and not mask[3:6, 6:].any()


def test_what_comes_after_a_block_changes_nothing(tmp_path: Path) -> None:
    """The same prediction whatever the later frames of the clip are."""
    models = small_models()
    stage = CausalStage(
        models.transformer, models.words, models.autoencoder, noisy_pool(tmp_path), noisy_pool(tmp_path, 1)
    )
    clips = stage.held_out.items
    window = whole_clips(clips, np.random.Generator(np.random.PCG64(1)), ALL)
    later = torch.cat([window.clean[:, :, :9], torch.randn_like(window.clean[:, :, 9:])], dim=2)
    made = []
    for clean in (window.clean, later):
        block = block_of(replace(window, clean=clean), 6, *carried_at(clips, window, 6, None))
        made.append(stage.made(block, block.clean, torch.full((1,), 0.5)))
    assert torch.equal(made[0], made[1]) and made[0].shape == (1, 16, BLOCK, 4, 6)


def test_damage_leaves_the_first_picture_and_the_target_alone() -> None:
    clips, window = whole()
    block = block_of(window, 0, *carried_at(clips, window, 0, None))
    later = block_of(window, 9, *carried_at(clips, window, 9, None))
    changed = 0
    for seed in range(12):
        source = torch.Generator().manual_seed(seed)
        worn, first = damaged(later, source), damaged(block, source)
        assert torch.equal(worn.clean, later.clean) and torch.equal(first.condition[:, :, 0], block.condition[:, :, 0])
        changed += int(not torch.equal(worn.past, later.past))
    assert 0 < changed <= 12
