"""Stage long: blocks are learnt as the live engine met them in long videos of its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from longvie import runtime
from longvie.data.world import scene
from longvie.engine.clip import mixed
from longvie.engine.live import LiveConfig
from longvie.engine.memory import Window
from longvie.errors import InputError
from longvie.models.models import Models
from longvie.training import rolled
from longvie.training.rolled import KINDS, Rolled, Shelf, joined, roll, scripted
from longvie.training.stages import long
from longvie.training.stages.causal import Block
from longvie.training.stages.long import LongStage
from made import noisy_pool, small_models

BLOCKS, SEED = 5, 11


@pytest.fixture(scope="module")
def models() -> Models:
    small = small_models()
    return replace(small, card=replace(small.card, steps=1))


@pytest.fixture(scope="module")
def video(models: Models) -> Rolled:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rolled, "GIVEN", {("depth", "segmentation"): 1.0})
        patch.setattr(rolled, "TRACKS", 1.0)
        patch.setattr(rolled, "AWAY", 0.0)
        patch.setattr(rolled, "scripted", lambda *given: replace(scripted(*given), seed=SEED))
        return roll(models, scene(3), blocks=BLOCKS)


def stage_on(models: Models, folder: Path, *videos: Rolled) -> LongStage:
    shelf = Shelf(videos)
    pools = noisy_pool(folder), noisy_pool(folder, 1)
    assert models.live is not None
    return LongStage(models.live, models.words, models.autoencoder, *pools, shelf=shelf, unknown=shelf)


def test_a_video_is_kept_block_by_block_beside_its_truth(video: Rolled, tmp_path: Path) -> None:
    assert video.blocks == BLOCKS and video.made.shape == video.clean.shape == (16, 3 * BLOCKS, 4, 6)
    assert video.strength.mean(1).tolist() == [1.0, 0.0, 1.0, 1.0]
    assert [bool(it.any()) for it in video.controls] == [name != "sketch" for name in KINDS]
    assert video.words[0] == scene(3).caption(0.0)
    video.save(tmp_path / "000" / "000003.safetensors")
    again = Rolled.load(tmp_path / "000" / "000003.safetensors")
    assert again.words == video.words
    assert torch.allclose(again.made.float(), video.made.float(), atol=0.05)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("number", range(BLOCKS))
def test_the_network_is_told_what_the_engine_told_it(
    models: Models, video: Rolled, tmp_path: Path, number: int
) -> None:
    """From the same noise, without a memory, the stage makes the block that the engine made with one; nearly, once
    what stands in the memory has seen frames that have left it since.
    """
    stage, block = stage_on(models, tmp_path, video), video.block(number)
    noise = runtime.noise(tuple(block.clean.shape), runtime.generator(mixed(SEED, number, 0)))
    with torch.no_grad():
        made = stage.made(block, noise, torch.ones(1))
    assert torch.allclose(
        made[0], video.made[:, 3 * number : 3 * number + 3].float(), atol=2e-5 if number < 4 else 2e-3
    )


def test_with_key_frames_too(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory of single frames from further back, on the engine and without one."""
    monkeypatch.setattr(rolled, "GIVEN", {("depth",): 1.0})
    monkeypatch.setattr(rolled, "scripted", lambda *given: replace(scripted(*given), seed=SEED))
    made_for = LiveConfig.of
    how = {"recent": 3, "far": 2, "every": 3}
    monkeypatch.setattr(LiveConfig, "of", classmethod(lambda _cls, card, **changes: made_for(card, **how, **changes)))
    monkeypatch.setattr(rolled, "AWAY", 0.0)
    video, number = roll(models, scene(3), blocks=BLOCKS), BLOCKS - 1
    stage, window = stage_on(models, tmp_path, video), Window(3, 3, 2, 3)
    block = video.block(number, window)
    assert block.made_with == (0, 0, 0, 1, 2, 3, 3, 3, 4, 4, 4)
    noise = runtime.noise(tuple(block.clean.shape), runtime.generator(mixed(SEED, number, 0)))
    with torch.no_grad():
        made, near = (stage.made(it, noise, torch.ones(1))[0] for it in (block, video.block(number, Window(3, 3))))
    told = video.made[:, 3 * number : 3 * number + 3].float()
    assert (made - told).abs().max() < 0.1 * (near - told).abs().max()


def test_a_batch_is_its_blocks_side_by_side(video: Rolled) -> None:
    both = joined([video.block(3), video.block(4)])
    for at, number in enumerate((3, 4)):
        alone = video.block(number)
        assert torch.equal(both.clean[at : at + 1], alone.clean) and both.words[at] == alone.words[0]
        for control, own in zip(both.controls, alone.controls, strict=True):
            assert torch.equal(control.latents[at : at + 1], own.latents)
    drawn = Shelf((video,)).draw(np.random.Generator(np.random.PCG64(0)), 6)
    assert drawn.past.shape[:3] == (6, 16, 9)  # never from before the memory is full


def test_most_batches_are_long_videos_and_a_share_are_clips(
    models: Models, video: Rolled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_on(models, tmp_path, video)
    drawn: list[int] = []

    def draw(self: Shelf, random: np.random.Generator, count: int, window: Window) -> Block:  # noqa: ARG001
        drawn.append(count)
        return joined([video.block(4)])

    monkeypatch.setattr(Shelf, "draw", draw)
    for share, wanted in ((0.0, 1), (1.0, 0)):
        monkeypatch.setattr(long, "CLIPS", share)
        drawn.clear()
        loss, _ = stage(np.random.Generator(np.random.PCG64(2)), 0.5)
        assert len(drawn) == wanted and loss.isfinite()


def test_held_out_videos_have_their_own_figure(models: Models, video: Rolled, tmp_path: Path) -> None:
    """Zero for a network that makes the truth."""
    stage = stage_on(models, tmp_path, video)
    found = stage.figures()
    assert {"held_out", "held_out_last", "held_out_long"} <= found.keys()
    truth = replace(video, clean=video.made)
    blocks = iter([truth.block(number).clean for number in range(3, BLOCKS, long.EVERY)])
    stage.unknown = Shelf((truth,))
    stage.sampled = lambda *_given, **_how: next(blocks)  # type: ignore[method-assign]
    stage.rolled = lambda clips, **_how: torch.zeros(len(clips), 16, 24, 4, 6)  # type: ignore[method-assign]
    assert stage.figures()["held_out_long"] == 0.0 < found["held_out_long"]


def test_a_control_may_be_off_for_a_while(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolled, "GIVEN", {("depth",): 1.0})
    monkeypatch.setattr(rolled, "AWAY", 1.0)
    monkeypatch.setattr(rolled, "ABSENCE", (0.5, 0.6))
    strength = roll(models, scene(5), blocks=3).strength[KINDS.index("depth")]
    assert 0.0 <= strength.min() < 1.0 and strength.max() == 1.0


def test_without_long_videos_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the stage 'rolled' first"):
        Shelf.open(tmp_path)
