"""Laws of the video transformer and its branches, on networks small enough for milliseconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from longvie.errors import ConfigError, ControlError, ShapeError
from longvie.models import names
from longvie.models.block import Gelu
from longvie.models.transformer import ControlInput, ListPast, VideoTransformer

FRAMES, ROWS, COLUMNS = 4, 4, 6
SMALL: dict[str, Any] = {"width": 36, "layers": 3, "heads": 2, "ffn": 40, "text_width": 10, "time_width": 16}
CONTROLLED: dict[str, Any] = {**SMALL, "control_layers": 2, "dense_kinds": 3, "beats": True, "branch_positions": "clip"}


def build(**options: Any) -> VideoTransformer:
    """A network whose every weight is random, those that start at zero included."""
    torch.manual_seed(1)
    model = VideoTransformer(**options)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weight.copy_(around + torch.randn_like(weight) / max(1, weight.shape[-1]) ** 0.5)
    return model.eval().requires_grad_(False)


def drawn(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def call(batch: int = 1, frames: int = FRAMES, **changed: Any) -> dict[str, Any]:
    """Arguments of a plain forward."""
    return {
        "noisy": drawn(batch, 16, frames, ROWS, COLUMNS),
        "times": torch.full((batch,), 0.7),
        "words": drawn(batch, 5, 10, seed=3),
        "condition": drawn(batch, 20, frames, ROWS, COLUMNS, seed=4),
        **changed,
    }


def control(branch: str = "dense", *, batch: int = 1, frames: int = FRAMES, strength: float = 1.0) -> ControlInput:
    return ControlInput(
        branch,  # type: ignore[arg-type]
        drawn(batch, 36, frames, ROWS, COLUMNS, seed=5 if branch == "dense" else 6),
        torch.full((batch, frames), strength),
        kind=0 if branch == "dense" else None,
    )


def same(got: Tensor, wanted: Tensor, *, atol: float = 2e-5) -> None:
    assert_close(got, wanted, atol=atol, rtol=1e-4)


def differ(a: Tensor, b: Tensor) -> None:
    assert (a - b).abs().max() > 1e-3


# --- the trunk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pictures", [False, True])
def test_the_same_numbers_as_diffusers(pictures: bool) -> None:
    """An independent implementation, loaded by our names from its layout. It needs 512 words to find the picture."""
    torch.manual_seed(0)
    theirs = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=18,
        in_channels=36 if pictures else 16,
        text_dim=10,
        freq_dim=16,
        ffn_dim=40,
        num_layers=2,
        image_dim=12 if pictures else None,
        added_kv_proj_dim=36 if pictures else None,
    ).eval()
    ours = VideoTransformer(
        **{**SMALL, "layers": 2}, in_channels=36 if pictures else 16, image_width=12 if pictures else None
    )
    ours.load_state_dict(
        {
            name: weight
            for old, weight in theirs.state_dict().items()
            for name, weight in names.transformer(old, weight).items()
        }
    )
    given = call(batch=2, words=drawn(2, 512, 10), condition=drawn(2, 20, FRAMES, ROWS, COLUMNS) if pictures else None)
    tokens = drawn(2, 257, 12) if pictures else None
    x = given["noisy"] if given["condition"] is None else torch.cat((given["noisy"], given["condition"]), dim=1)
    with torch.no_grad():
        wanted = theirs(x, given["times"] * 1000, given["words"], tokens).sample
        same(ours.eval()(**given, pictures=tokens), wanted)


def test_rows_of_a_batch_do_not_know_each_other() -> None:
    model = build(**CONTROLLED)
    both = model(
        **call(batch=2, times=torch.tensor([0.2, 0.9])), controls=(control(batch=2), control("sparse", batch=2))
    )
    for row in range(2):
        given = call(batch=2, times=torch.tensor([0.2, 0.9]))
        alone = {name: value[row : row + 1] for name, value in given.items()}
        inputs = [
            replace(c, latents=c.latents[row : row + 1], strength=c.strength[row : row + 1])
            for c in (control(batch=2), control("sparse", batch=2))
        ]
        same(both[row : row + 1], model(**alone, controls=inputs))


def test_equal_times_per_frame_are_one_time() -> None:
    model = build(**CONTROLLED)
    controls = (control(),)
    one = model(**call(), controls=controls)
    same(model(**call(times=torch.full((1, FRAMES), 0.7)), controls=controls), one)
    differ(model(**call(times=torch.tensor([[0.7, 0.7, 0.7, 0.1]])), controls=controls), one)


def test_only_differences_of_positions_count() -> None:
    model = build(**SMALL)
    first = model(**call())
    same(model(**call(), start=40), first)
    same(model(**call(), positions=torch.arange(40, 40 + FRAMES)), first)
    differ(model(**call(), positions=torch.tensor([0, 1, 2, 9])), first)


def test_text_of_any_length() -> None:
    model = build(**SMALL, image_width=12)
    words, pictures = drawn(1, 9, 10, seed=3), drawn(1, 257, 12, seed=7)
    nine = model(**call(words=words), pictures=pictures)
    differ(model(**call(words=words[:, :4]), pictures=pictures), nine)
    differ(model(**call(words=words)), nine)  # without the picture


def test_a_prediction_has_the_type_of_what_came() -> None:
    model = build(**CONTROLLED).to(torch.bfloat16)
    given = {name: value.bfloat16() for name, value in call().items()}
    out = model(**{**given, "times": torch.tensor([0.7])}, controls=(control(),))
    assert out.dtype == torch.bfloat16
    wanted = build(**CONTROLLED)(**call(), controls=(control(),))
    assert (out.float() - wanted).norm() / wanted.norm() < 0.05


def test_time_layers_may_stay_in_float32() -> None:
    model = build(**SMALL).to(torch.bfloat16)
    for name, weight in model.named_parameters():
        if "time_" in name or "modulation" in name:
            weight.data = weight.data.float()
    given = {name: value.bfloat16() for name, value in call().items()}
    out = model(**{**given, "times": torch.tensor([0.7])})
    wanted = build(**SMALL)(**call())
    assert (out.float() - wanted).norm() / wanted.norm() < 0.05


def test_training_in_mixed_precision() -> None:
    torch.manual_seed(0)
    model = VideoTransformer(**CONTROLLED)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(**call(batch=2), controls=(control(batch=2), control("sparse", batch=2)))
    out.square().mean().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
    assert model.blocks[0].self_attn.q.weight.grad.abs().max() > 0


def test_checkpointing_changes_memory_not_gradients() -> None:
    found = []
    for checkpointed in (False, True):
        model = build(**CONTROLLED).train().requires_grad_(True)
        if checkpointed:
            model.enable_gradient_checkpointing()
        model(**call(), controls=(control(),)).square().mean().backward()
        found.append([weight.grad for weight in model.parameters()])
    assert_close(found[0], found[1])


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    model = build(**CONTROLLED)
    model.save_pretrained(tmp_path)
    again = VideoTransformer.from_pretrained(tmp_path).eval()
    assert {name: again.config[name] for name in CONTROLLED} == CONTROLLED
    assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)
    same(again(**call(), controls=(control(),)), model(**call(), controls=(control(),)))


def test_every_layer_takes_the_chosen_attention() -> None:
    model = build(**CONTROLLED)
    wanted = model(**call(), controls=(control(),))
    model.use_attention("explicit")
    assert {module.backend for module in model.modules() if hasattr(module, "backend")} == {"explicit"}
    same(model(**call(), controls=(control(),)), wanted)
    with pytest.raises(ConfigError):
        model.use_attention("fastest")


# --- history, masks and the past ------------------------------------------------------------------------------------


def history(frames: int = 2, seed: int = 8) -> Tensor:
    return drawn(1, 36, frames, ROWS, COLUMNS, seed=seed)


def test_history_is_read_and_leaves_before_the_head() -> None:
    model = build(**SMALL)
    out = model(**call(), history=history())
    assert out.shape == call()["noisy"].shape
    differ(out, model(**call()))
    differ(out, model(**call(), history=history(seed=9)))


def test_history_without_times_has_the_clips_time() -> None:
    model = build(**SMALL)
    same(model(**call(), history=history(), history_times=torch.full((1, 2), 0.7)), model(**call(), history=history()))
    differ(model(**call(), history=history(), history_times=torch.zeros(1, 2)), model(**call(), history=history()))


def test_history_is_a_clip_that_is_thrown_away() -> None:
    """Frames given as history and the same frames as the first of a longer clip are the same tokens."""
    model = build(**SMALL)
    longer = call(frames=FRAMES + 2)
    tokens = torch.cat((longer["noisy"], longer["condition"]), dim=1)
    clip = {name: longer[name][:, :, 2:] for name in ("noisy", "condition")}
    same(model(**{**longer, **clip}, history=tokens[:, :, :2]), model(**longer)[:, :, 2:])


def test_what_is_not_visible_changes_nothing() -> None:
    model = build(**SMALL)
    visible = torch.ones(FRAMES + 2, FRAMES + 2, dtype=torch.bool)
    visible[2:, :2] = False  # the clip does not see the history
    positions = torch.tensor([0, 1, 0, 1, 2, 3])
    blind = model(**call(), history=history(), visible=visible, positions=positions)
    same(blind, model(**call()))


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_with_a_past_are_masked_attention_over_the_whole(chunk: int) -> None:
    model = build(**SMALL)
    given = call(times=torch.tensor([[0.9, 0.9, 0.4, 0.4]]))
    chunks = torch.arange(FRAMES) // chunk
    whole = model(**given, visible=chunks[:, None] >= chunks[None, :])
    past = ListPast()
    parts = []
    for at in range(0, FRAMES, chunk):
        span = slice(at, at + chunk)
        piece = {name: given[name][:, :, span] for name in ("noisy", "condition")}
        piece |= {"words": given["words"], "times": given["times"][:, span]}
        past.keep = False
        model(**piece, past=past, start=at)  # looking does not change what is remembered
        past.keep = True
        parts.append(model(**piece, past=past, start=at))
    same(torch.cat(parts, dim=2), whole)


def test_a_causal_clip_with_controls_sees_its_own_block_in_the_branch() -> None:
    """So that a stream, whose branches have no past, computes what training with a mask computes."""
    model = build(**CONTROLLED)
    given = call()
    chunks = torch.arange(FRAMES) // 2
    own_block = chunks[:, None] == chunks[None, :]
    whole = model(**given, controls=(control(),), visible=own_block)
    parts = []
    for at in (0, 2):
        span = slice(at, at + 2)
        piece = {name: given[name][:, :, span] for name in ("noisy", "condition")}
        piece |= {"words": given["words"], "times": given["times"]}
        part = replace(control(), latents=control().latents[:, :, span], strength=torch.ones(1, 2))
        parts.append(model(**piece, controls=(part,), start=at))
    same(torch.cat(parts, dim=2), whole)


# --- controls and beats ---------------------------------------------------------------------------------------------


def both(strength: float = 1.0) -> tuple[ControlInput, ControlInput]:
    return control(strength=strength), control("sparse", strength=strength)


def test_new_branches_and_beats_change_nothing() -> None:
    torch.manual_seed(0)
    model = VideoTransformer(**CONTROLLED).eval()
    plain = model(**call())
    assert_close(model(**call(), controls=both()), plain, atol=0, rtol=0)
    same(model(**call(), beats=drawn(1, FRAMES, 4)), plain)


def test_new_branches_learn_from_the_first_step_on() -> None:
    torch.manual_seed(0)
    model = VideoTransformer(**CONTROLLED)
    model(**call(), controls=both()).square().mean().backward()
    for join in model.controls.joins:
        assert join.weight.grad.abs().max() > 0


def test_strength_0_removes_a_control_wholly() -> None:
    model = build(**CONTROLLED)
    plain = model(**call())
    differ(model(**call(), controls=both()), plain)
    assert_close(model(**call(), controls=both(strength=0.0)), plain, atol=0, rtol=0)


def test_strength_0_of_one_leaves_the_other_as_it_is() -> None:
    model = build(**CONTROLLED)
    dense, sparse = both()
    gone = replace(sparse, strength=torch.zeros(1, FRAMES))
    same(model(**call(), controls=(dense, gone)), model(**call(), controls=(dense,)))


def test_strength_is_of_each_latent_frame() -> None:
    model = build(**CONTROLLED)
    branches, frames = model.controls, torch.tensor([[0.0, 1.0, 0.5, 0.0]])
    tokens = FRAMES * ROWS * COLUMNS // 4
    x, out = drawn(1, tokens, 36), drawn(1, tokens, 18)
    added = (branches.join(0, x, [out], [replace(control(), strength=frames)]) - x).unflatten(1, (FRAMES, -1))
    full = (branches.join(0, x, [out], [control()]) - x).unflatten(1, (FRAMES, -1))
    assert_close(added, full * frames[..., None, None])


def test_two_halves_of_a_control_are_the_control() -> None:
    model = build(**CONTROLLED)
    halves = (control(strength=0.5), control(strength=0.5))
    same(model(**call(), controls=halves), model(**call(), controls=(control(),)))


def test_the_order_of_controls_does_not_matter() -> None:
    model = build(**CONTROLLED)
    dense, sparse = both()
    same(model(**call(), controls=(sparse, dense)), model(**call(), controls=(dense, sparse)))


def test_kinds_are_told_apart_and_may_differ_within_a_batch() -> None:
    model = build(**CONTROLLED)
    pair = control(batch=2)
    mixed = model(**call(batch=2), controls=(replace(pair, kind=torch.tensor([0, 2])),))
    zero, two = (model(**call(batch=2), controls=(replace(pair, kind=kind),)) for kind in (0, 2))
    same(mixed, torch.cat((zero[:1], two[1:])))
    differ(zero, two)


def test_gain_scales_what_the_branch_sees() -> None:
    model = build(**CONTROLLED)
    given, pair = call(batch=2), control(batch=2)
    mixed = model(**given, controls=(replace(pair, gain=torch.tensor([1.0, 0.5])),))
    plain = model(**given, controls=(pair,))
    same(mixed[:1], plain[:1])
    differ(mixed[1:], plain[1:])


@pytest.mark.parametrize(("positions", "moves"), [("own", False), ("clip", True)])
def test_where_branches_see_the_clip(positions: str, moves: bool) -> None:
    """A gap in the clip's positions reaches the branches that follow the clip, not those that count for themselves."""
    model = build(**{**CONTROLLED, "branch_positions": positions})
    seen: list[Tensor] = []
    model.controls.dense.blocks[0].register_forward_hook(lambda _layer, _given, out: seen.append(out))
    model(**call(), controls=(control(),))
    model(**call(), controls=(control(),), positions=torch.tensor([0, 3, 4, 20]))
    assert (not torch.allclose(*seen, atol=1e-4)) is moves


def test_beats_are_heard_frame_by_frame() -> None:
    model = build(**CONTROLLED)
    silent = torch.zeros(1, FRAMES, 4)
    same(model(**call(), beats=silent), model(**call()))
    differ(model(**call(), beats=drawn(1, FRAMES, 4)), model(**call()))
    earlier = {"history": history(), "history_times": torch.zeros(1, 2)}
    same(model(**call(), **earlier, beats=silent), model(**call(), **earlier))


def test_words_that_are_read_once_say_the_same_in_every_call() -> None:
    model = build(**CONTROLLED)
    given = call()
    read = model.read(given["words"])
    for controls in ((), (control(),), both()):
        wanted = model(**given, controls=controls)
        assert torch.equal(model(**{**given, "words": read}, controls=controls), wanted)
    with pytest.raises(ShapeError, match="read already"):
        model(**{**given, "words": read}, pictures=drawn(1, 3, 7))


def test_branches_may_have_heads_of_another_width() -> None:
    model = build(**{**CONTROLLED, "control_width": 16, "control_heads": 2, "control_ffn": 24})
    differ(model(**call(), controls=both()), model(**call()))


# --- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        (
            {"noisy": torch.zeros(1, 16, FRAMES, 5, 6), "condition": torch.zeros(1, 20, FRAMES, 5, 6)},
            ShapeError,
            "patch",
        ),
        ({"condition": None}, ShapeError, "16 channels, condition included; the model takes 36"),
        ({"history": torch.zeros(1, 16, 2, ROWS, COLUMNS)}, ShapeError, "history has 16"),
        ({"pictures": torch.zeros(1, 257, 12)}, ControlError, "picture"),
        ({"beats": torch.zeros(1, FRAMES, 4)}, ControlError, "beats"),
        ({"controls": (control(),)}, ControlError, "no control branches"),
        ({"past": ListPast(), "visible": torch.ones(4, 4, dtype=torch.bool)}, ShapeError, "not both"),
        ({"history": history(), "times": torch.full((1, FRAMES), 0.5)}, ShapeError, "history_times"),
        ({"positions": torch.arange(3)}, ShapeError, "3 positions for 4"),
        ({"visible": torch.ones(3, 3, dtype=torch.bool)}, ShapeError, "3 rows for 4"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        build(**SMALL)(**call(**changed))


@pytest.mark.parametrize("frames", [FRAMES - 1, FRAMES + 1])
def test_a_control_of_another_length_is_refused(frames: int) -> None:
    with pytest.raises(ShapeError, match="dense latents"):
        build(**CONTROLLED)(**call(), controls=(control(frames=frames),))


@pytest.mark.parametrize("kind", [None, 3, -1])
def test_a_kind_that_was_not_learned_is_named(kind: int | None) -> None:
    with pytest.raises(ControlError, match="kinds"):
        build(**CONTROLLED)(**call(), controls=(replace(control(), kind=kind),))


def test_a_branch_of_one_kind_takes_no_other() -> None:
    model = build(**{**CONTROLLED, "dense_kinds": 0})
    model(**call(), controls=(control(),))
    with pytest.raises(ControlError, match="one kind"):
        model(**call(), controls=(replace(control(), kind=1),))


@pytest.mark.parametrize("wrong", [{"heads": 5}, {"heads": 36}, {"control_layers": 4}, {"patch": (2, 2, 2)}])
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        VideoTransformer(**{**SMALL, **wrong})


def test_the_start_is_small_but_not_zero_at_the_head() -> None:
    """A model that predicts clean latents has nothing to learn from a head of zeros in its first step."""
    torch.manual_seed(0)
    model = VideoTransformer(**SMALL)
    out = model(**call())
    assert 0 < out.abs().mean() < 1
    assert isinstance(model.head.head, nn.Linear)


def test_a_model_that_copies_puts_what_is_given_in_the_place_of_its_own_prediction_as_its_gate_says() -> None:
    plain, copying = build(**SMALL), build(**SMALL, copies=True)
    copying.load_state_dict(plain.state_dict(), strict=False)
    given, own = call()["condition"][:, 4:], plain(**call())
    gate = copying.head.copy
    assert gate is not None
    gate.weight.zero_()
    for bias, wanted in ((-100.0, own), (100.0, given), (0.0, (own + given) / 2)):
        gate.bias.fill_(bias)
        same(copying(**call()), wanted)
    gate.bias[:] = torch.where(torch.arange(64) % 16 == 3, 100.0, -100.0)  # channel fastest: one of sixteen is copied
    one = copying(**call())
    same(one[:, 3], given[:, 3])
    same(one[:, :3], own[:, :3])


def test_in_bfloat16_the_exact_gelu_is_as_near_to_the_published_one_as_its_own_kernel() -> None:
    x = torch.randn(4000, generator=torch.Generator().manual_seed(0)).mul(3)
    published = functional.gelu(x, approximate="tanh")
    assert torch.equal(Gelu()(x), published)
    rounded = x.bfloat16()
    wanted = functional.gelu(rounded.float(), approximate="tanh")
    own = (functional.gelu(rounded, approximate="tanh").float() - wanted).abs()
    ours = (Gelu()(rounded).float() - wanted).abs()
    assert ours.max() <= 1.1 * own.max() and ours.mean() <= 1.5 * own.mean()
