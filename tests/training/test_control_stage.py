"""Branches on a frozen transformer: where they begin, what they are trained on, and that nothing else moves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from longvie.data.footage import Footage, read_metadata
from longvie.engine import flow
from longvie.errors import ConfigError, ControlError, InputError
from longvie.models import names
from longvie.models.models import Models
from longvie.models.transformer import ControlInput, VideoTransformer
from longvie.models.weights import fill, of_branches, open_checkpoint
from longvie.training.control import train_control
from longvie.training.stages.control import RECIPE, ControlStage, levels, thin, with_branches
from made import small_models, write_footage
from small import longvie_models as make_longvie_models

FRAMES = 9  # of a clip here; the published ones have 81


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of footage, one a little longer than needed."""
    return write_footage(tmp_path_factory.mktemp("footage"), FRAMES)


def short(models: Models) -> Models:
    return replace(models, card=replace(models.card, frames=FRAMES))


def ours() -> Models:
    return short(small_models())


def published() -> Models:
    return short(make_longvie_models())


@pytest.mark.parametrize("build", [ours, published])
def test_two_steps_move_the_branches_and_nothing_else(tmp_path: Path, metadata: Path, build: object) -> None:
    models = build()
    parts = {"words": models.words, "autoencoder": models.autoencoder, "transformer": models.transformer}
    parts |= {"pictures": models.pictures} if models.pictures is not None else {}
    before = {part: {k: v.clone() for k, v in module.state_dict().items()} for part, module in parts.items()}
    stage_before = {}
    with_branches(models.transformer)
    stage_before = {k: v.clone() for k, v in models.transformer.state_dict().items() if k.startswith("controls.")}

    file = train_control(models, metadata, tmp_path, replace(RECIPE, steps=2, rate=1e-3))

    for part, module in parts.items():
        for name, weight in module.state_dict().items():
            if not (part == "transformer" and name.startswith("controls.")):
                assert weight.numpy().tobytes() == before[part][name].numpy().tobytes(), name
    after = models.transformer.state_dict()
    moved = [name for name, weight in stage_before.items() if not torch.equal(weight, after[name])]
    assert any(name.startswith("controls.joins.") for name in moved)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert list(tmp_path.glob("sheet_*.png"))

    fresh = VideoTransformer.from_config(models.transformer.config)
    report = fill(fresh, open_checkpoint(file), names.transformer, needed=of_branches)
    assert not report.unexpected and not report.misshapen
    for name, weight in fresh.controls.state_dict().items():
        assert torch.equal(weight, after[f"controls.{name}"].bfloat16().float()), name


def test_what_the_stage_gives_is_what_the_engine_gives(metadata: Path) -> None:
    """The published form: noise's place holds the control, its own first frame stands as its picture."""
    models = published()
    stage = ControlStage(models, Footage.open(metadata, frames=FRAMES, size=models.card.size, fps=16))
    sample = stage.footage.sample(1)
    given, words, clean = stage.given(sample)
    assert sample.video.shape == (3, FRAMES, 32, 48)
    assert clean.shape == (1, 16, 3, 4, 6)
    assert [control.branch for control in given.controls] == ["dense", "sparse"]
    assert all((control.strength == 1).all() for control in given.controls)
    assert given.history is None and given.pictures is not None and given.condition is not None
    assert torch.equal(words, models.words.encode(["clip 1"]))
    assert (given.condition[:, :4, 0] == 1).all() and not given.condition[:, :4, 1:].any()
    depth = given.controls[0].latents
    assert (depth[:, 16:20, 0] == 1).all()
    assert depth[:, 20:].any()


def test_a_second_step_reaches_the_branches_behind_the_joins(metadata: Path) -> None:
    """Joins start at zero, so the first step moves them alone; from then on gradients reach everything."""
    models = ours()
    models = replace(models, transformer=with_branches(models.transformer))
    stage = ControlStage(models, Footage.open(metadata, frames=FRAMES, size=models.card.size, fps=16))
    with torch.no_grad():
        models.transformer.controls.joins[0].weight.normal_(std=0.1)
    loss, figures = stage(np.random.default_rng(3), 0.0)
    loss.backward()
    assert figures["error"] > 0
    for name, weight in models.transformer.named_parameters():
        assert (weight.grad is not None) == name.startswith("controls."), name
    for name in ("dense.enter.weight", "sparse.blocks.0.ffn.0.weight", "words.weight", "time.weight"):
        assert models.transformer.controls.get_parameter(name).grad.any(), name


def test_the_network_is_told_rounded_levels_and_294_rows_are_trained_on() -> None:
    table = flow.training_times(5.0)
    told, rows = levels(table, torch.arange(1000))
    assert len(rows.unique()) == 294
    assert torch.equal(told * 1000, (told * 1000).bfloat16().double())
    assert (table[rows].double() - told).abs().max() < 2.1e-3  # half a step of bfloat16 below 1000
    assert flow.training_weights(table)[rows].max() == pytest.approx(2.0764, abs=1e-3)


def test_the_recipe_is_the_published_one() -> None:
    assert [RECIPE.rate_at(step, share) for step, share in ((5, 0.0), (100, 0.5), (10**6, 1.0))] == [1e-5] * 3
    assert (RECIPE.decay, RECIPE.betas, RECIPE.ema, RECIPE.clip) == (0.01, (0.9, 0.999), 0.0, float("inf"))


# --- where branches begin -------------------------------------------------------------------------------------------


def trunk(**changes: object) -> VideoTransformer:
    torch.manual_seed(0)
    sizes = {"width": 48, "layers": 3, "heads": 4, "ffn": 64, "text_width": 8, "time_width": 16, "image_width": 24}
    return VideoTransformer(**(sizes | changes)).eval()


def call(model: VideoTransformer, controls: tuple[ControlInput, ...] = ()) -> torch.Tensor:
    source = torch.Generator().manual_seed(1)
    noisy, condition = torch.randn(1, 36, 2, 4, 6, generator=source).split([16, 20], dim=1)
    words, pictures = torch.randn(1, 3, 8, generator=source), torch.randn(1, 257, 24, generator=source)
    with torch.no_grad():
        return model(noisy, torch.tensor([0.5]), words, condition=condition, pictures=pictures, controls=controls)


def control(branch: str) -> ControlInput:
    latents = torch.randn(1, 36, 2, 4, 6, generator=torch.Generator().manual_seed(2))
    return ControlInput(branch, latents, torch.ones(1, 2))


def test_new_branches_change_nothing_and_share_the_trunk() -> None:
    bare = trunk()
    grown = with_branches(bare, layers=2)
    assert len(grown.controls.joins) == 2
    assert torch.equal(call(grown, (control("dense"), control("sparse"))), call(bare))
    for name, weight in bare.state_dict().items():
        assert grown.state_dict()[name].data_ptr() == weight.data_ptr(), name
    assert not any(weight.is_meta for weight in grown.state_dict().values())


def test_branches_are_every_second_head_of_the_first_layers() -> None:
    grown = with_branches(trunk(), layers=2)
    kept = [*range(12), *range(24, 36)]  # heads 0 and 2 of 4, each 12 wide
    for layer in range(2):
        wide, narrow = grown.blocks[layer], grown.controls.dense.blocks[layer]
        rows = wide.self_attn.q.weight[kept][:, kept] * 2**0.5
        assert torch.equal(narrow.self_attn.q.weight, rows)
        assert torch.equal(narrow.cross_attn.k_img.bias, wide.cross_attn.k_img.bias[kept])
        assert torch.equal(narrow.modulation, wide.modulation[..., kept])
        assert torch.equal(narrow.ffn[0].weight, wide.ffn[0].weight[::2][:, kept] * 2**0.5)
        assert torch.equal(narrow.ffn[2].weight, wide.ffn[2].weight[kept][:, ::2] * 2**0.5)
        for one, other in zip(narrow.parameters(), grown.controls.sparse.blocks[layer].parameters(), strict=True):
            assert torch.equal(one, other)
    x = torch.randn(2, 5, 48)
    for select in (grown.controls.dense.enter, grown.controls.words, grown.controls.time):
        assert torch.equal(select(x), x[..., kept])


def test_a_branch_of_the_trunks_own_width_is_the_trunk() -> None:
    """Nothing is left out then, so nothing may be scaled."""
    model = trunk(control_layers=2, control_width=48, control_heads=4, control_ffn=64)
    thin(model)
    for wide, narrow in zip(model.blocks, model.controls.dense.blocks, strict=False):
        for one, other in zip(narrow.parameters(), wide.parameters(), strict=True):
            assert torch.equal(one, other)


def test_thinned_layers_keep_the_size_of_what_they_make() -> None:
    """A matrix of random numbers makes as much of half of its inputs as of all: that is what the factor is for."""
    model = trunk(width=240, heads=4, ffn=480, control_layers=1)
    thin(model)
    x = torch.randn(200, 240)
    wide, narrow = model.blocks[0].ffn[0], model.controls.dense.blocks[0].ffn[0]
    with torch.no_grad():
        whole, half = wide(x).std(), narrow(x[:, : narrow.in_features]).std()
    assert float(half / whole) == pytest.approx(1, abs=0.1)


def test_heads_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads 24 wide cannot start from a trunk with heads 12 wide"):
        thin(trunk(control_layers=1, control_width=24, control_heads=1))


def test_a_transformer_without_branches_is_refused(metadata: Path) -> None:
    models = replace(ours(), transformer=trunk())
    with pytest.raises(ConfigError, match="with_branches"):
        ControlStage(models, Footage.open(metadata, frames=FRAMES, size=(32, 48), fps=16))
    with pytest.raises(ConfigError, match="no control branches"):
        thin(trunk())


# --- footage --------------------------------------------------------------------------------------------------------


def test_footage_is_cut_cropped_and_drawn_as_it_is(metadata: Path) -> None:
    footage = Footage.open(metadata, frames=FRAMES, size=(32, 48), fps=16)
    assert len(footage) == 2
    script = footage.sample(1).script
    assert (script.frames, script.size, script.fps) == (FRAMES, (32, 48), 16)
    assert script.prompts.lines[0].prompt == "clip 1"
    assert torch.equal(script.picture, footage.sample(1).video[:, :1])
    assert [d.control.name for d in script.controls] == ["depth", "tracks"]
    for direction in script.controls:
        assert direction.control.render(direction.signal.read(0, 2), direction.scale).shape == (3, 2, 32, 48)


def test_footage_that_is_too_short_is_refused(metadata: Path) -> None:
    footage = Footage.open(metadata, frames=FRAMES + 1, size=(32, 48), fps=16)
    with pytest.raises(InputError, match=r"0_video\.mp4 has 9 frames, a clip 10"):
        footage.sample(0)
    longer = replace(footage.entries[0], video=footage.entries[1].video)
    with pytest.raises(ControlError, match="depth covers 9 frames, the clip needs 10"):
        replace(footage, entries=(longer,)).sample(0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "lists no clips"),
        ("[]", "lists no clips"),
        ("[1]", "clip 1 of m.json is no table"),
        ('[{"video": "a.mp4", "depth": "b.mp4", "track": "c.mp4"}]', "no 'text'"),
        ('[{"video": 7, "depth": "b.mp4", "track": "c.mp4", "text": "x"}]', "no 'video'"),
        ('[{"video": "a.mp4", "depth": "b.mp4", "track": "c.mp4", "text": "x"}]', "its video a.mp4 is not there"),
        ("nonsense", "not JSON"),
    ],
)
def test_broken_metadata_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read_metadata(tmp_path / "m.json")
