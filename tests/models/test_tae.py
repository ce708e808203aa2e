"""Laws of the small autoencoder; its numbers are checked in tests/parity."""

import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.models.streams import TaeState
from longvie.models.tae import TinyAutoencoder
from longvie.training.stages.autoencoder import grown

SEEDS = range(6)
CLOSE = {"atol": 2e-5, "rtol": 0.0}  # the same sums in another order


def ours() -> TinyAutoencoder:
    torch.manual_seed(0)
    return TinyAutoencoder(encoder_widths=(4, 6, 8), decoder_widths=(8, 6, 4), encoder_blocks=(1, 2, 1))


def published() -> TinyAutoencoder:
    torch.manual_seed(0)
    return TinyAutoencoder.taew2_1(width=4)


@pytest.fixture(params=[ours, published], ids=["start", "end"])
def model(request: pytest.FixtureRequest) -> TinyAutoencoder:
    return request.param()


def video(frames: int, batch: int = 1, height: int = 16, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


def latents(count: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 16, count, 2, 3, generator=torch.Generator().manual_seed(count))


def grouped(total: int, seed: int) -> list[int]:
    """`total` as a sum of random positive numbers."""
    draw = random.Random(seed)
    sizes = []
    while sum(sizes) < total:
        sizes.append(draw.randint(1, total - sum(sizes)))
    return sizes


def resumed(state: TaeState) -> TaeState:
    """As after saving and loading, so that nothing hides beside the tensors."""
    return TaeState.from_tensors(state.tensors())


# --- streams --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_decoding_in_groups_is_decoding_whole(model: TinyAutoencoder, seed: int) -> None:
    given, state, pieces = latents(6, batch=2), TaeState(), []
    for group in given.split(grouped(6, seed), dim=2):
        piece, state = model.decode(group, resumed(state), limit=False)
        pieces.append(piece)
    whole, after = model.decode(given, limit=False)
    assert_close(torch.cat(pieces, dim=2), whole, **CLOSE)
    assert_close(state.tensors(), after.tensors(), **CLOSE)
    assert whole.shape == (2, 3, 21, 16 * model.strides.space // 8, 24 * model.strides.space // 8)


@pytest.mark.parametrize("kind", ["decode", "encode"])
def test_a_call_may_follow_one_that_is_still_at_work(model: TinyAutoencoder, kind: str) -> None:
    """The later ones begin first, and wait; the same numbers to the bit, and the same state after them."""
    given = latents(7) if kind == "decode" else video(13)
    parts = given.split([1, 2, 3, 1] if kind == "decode" else [5, 4, 4], dim=2)
    call, state, one_by_one = getattr(model, kind), None, []
    for part in parts:
        made, state = call(part, state)
        one_by_one.append(made)
    states, works = [None], []
    for part in parts:
        states.append(model.coming(part, states[-1]))
        works.append(partial(call, part, states[-2], after=states[-1]))
    with ThreadPoolExecutor(len(works)) as pool, torch.no_grad():
        futures = [pool.submit(torch.no_grad()(work)) for work in reversed(works)]
        results = [future.result(timeout=60) for future in reversed(futures)]
    assert all(torch.equal(made, again) for made, (again, _) in zip(one_by_one, results, strict=True))
    assert_close(results[-1][1].tensors(), state.tensors(), atol=0.0, rtol=0.0)


def test_a_call_that_follows_one_which_fails_is_told() -> None:
    model = ours()
    after = model.coming(latents(2), None)
    with pytest.raises(ShapeError):
        model.decode(latents(2)[:, :3], None, after=after)
    with pytest.raises(RuntimeError, match="has failed"):
        model.decode(latents(2), after)


@pytest.mark.parametrize("seed", SEEDS)
def test_encoding_ours_in_groups_is_encoding_whole(seed: int) -> None:
    model, given, state, pieces = ours(), video(21, batch=2), TaeState(), []
    first, *rest = grouped(6, seed)
    for group in given.split([4 * first - 3, *(4 * count for count in rest)], dim=2):
        piece, state = model.encode(group, resumed(state))
        pieces.append(piece)
    whole, after = model.encode(given)
    assert [piece.shape[2] for piece in pieces] == [first, *rest]
    assert_close(torch.cat(pieces, dim=2), whole, **CLOSE)
    assert_close(state.tensors(), after.tensors(), **CLOSE)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 9, 12, 15])
@pytest.mark.parametrize("seed", SEEDS)
def test_encoding_the_published_way_in_groups_is_encoding_whole(frames: int, seed: int) -> None:
    model, given, state, pieces = published(), video(frames), TaeState(), []
    for group in given.split(grouped(frames, seed), dim=2):
        piece, state = model.encode(group, resumed(state))
        pieces.append(piece)
        model.flush(state)  # on the way; leaves no trace
    pieces.append(model.flush(state))
    whole = model.encode_clip(given)
    assert whole.shape[2] == -(-frames // 4)
    assert_close(torch.cat(pieces, dim=2), whole, **CLOSE)


def test_frame_by_frame_is_whole() -> None:
    model, given, state, pieces = published(), video(10), TaeState(), []
    for frame in given.split(1, dim=2):
        piece, state = model.encode(frame, state)
        pieces.append(piece)
    assert [piece.shape[2] for piece in pieces] == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0]
    assert_close(torch.cat([*pieces, model.flush(state)], dim=2), model.encode_clip(given), **CLOSE)


def test_a_stream_goes_on_after_a_flush() -> None:
    model, given = published(), video(11)
    first, state = model.encode(given[:, :, :6])
    early = model.flush(state)
    second, state = model.encode(given[:, :, 6:], state)
    assert_close(torch.cat([first, early], dim=2), model.encode_clip(given[:, :, :6]), **CLOSE)
    assert_close(torch.cat([first, second, model.flush(state)], dim=2), model.encode_clip(given), **CLOSE)


def test_a_state_can_be_forked(model: TinyAutoencoder) -> None:
    """Going on one way changes nothing for who goes on another way."""
    _, state = model.decode(latents(2))
    before = {name: value.clone() for name, value in state.tensors().items()}
    model.decode(-latents(2), state)
    assert_close(state.tensors(), before, atol=0, rtol=0)


def test_a_state_is_saved_and_loaded(model: TinyAutoencoder, tmp_path: Path) -> None:
    with torch.no_grad():
        frames = model.strides.time + 1
        for name, step, given in (("encode", model.encode, video(frames, 2)), ("decode", model.decode, latents(2, 2))):
            _, state = step(given)
            save_file(state.tensors(), tmp_path / name)
            loaded = TaeState.from_tensors(load_file(tmp_path / name))
            going_on = given[:, :, -model.strides.time :]
            assert_close(step(going_on, loaded)[0], step(going_on, state)[0], atol=0, rtol=0)


def test_a_state_does_not_grow(model: TinyAutoencoder) -> None:
    """Neither with the length of the stream, nor by holding on to whole activations."""
    _, early = model.decode(latents(1))
    _, late = model.decode(latents(9), early)
    sizes = [
        sum(value.untyped_storage().nbytes() for value in [*state.memory.values(), state.last] if value is not None)
        for state in (early, late)
    ]
    assert sizes[0] == sizes[1] == 4 * sum(value.numel() for value in [*early.memory.values(), latents(1)])


@pytest.mark.parametrize("name", ["memory.x", "more", "waiting"])
def test_a_foreign_state_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        TaeState.from_tensors({"seen": torch.tensor(1), name: torch.zeros(1)})
    with pytest.raises(InputError, match="seen"):
        TaeState.from_tensors({})


# --- time -----------------------------------------------------------------------------------------------------------


def test_the_first_latent_sees_the_first_frame_alone() -> None:
    model, given = ours(), video(9)
    whole, _ = model.encode(given)
    assert_close(model.encode(given[:, :, :1])[0], whole[:, :, :1], **CLOSE)
    other = torch.cat([given[:, :, :1], video(8)], dim=2)
    assert_close(model.encode(other)[0][:, :, 0], whole[:, :, 0], **CLOSE)


@pytest.mark.parametrize("moved", range(1, 13))
def test_no_latent_sees_a_later_frame(moved: int) -> None:
    """Latent k sees the frames up to 4k, and the last of them it does see."""
    model, given = ours(), video(13)
    other = given.clone()
    other[:, :, moved] = -other[:, :, moved]
    change = (model.encode(other)[0] - model.encode(given)[0]).abs().amax(dim=(0, 1, 3, 4))
    first = -(-moved // 4)
    assert change[:first].max() == 0
    assert change[first] > 1e-4


@pytest.mark.parametrize("moved", range(4))
def test_no_frame_sees_a_later_latent(model: TinyAutoencoder, moved: int) -> None:
    """Latent k shows first in frame 4k - 3, or in frame 0."""
    given = latents(4)
    other = given.clone()
    other[:, :, moved] = -other[:, :, moved]
    change = model.decode(other, limit=False)[0] - model.decode(given, limit=False)[0]
    change = change.abs().amax(dim=(0, 1, 3, 4))
    first = max(0, 4 * moved - 3)
    assert change[:first].sum() == 0
    assert change[first] > 0


def test_padding_in_front_is_repeating_the_first_frame() -> None:
    """Ours on a clip is a model without a start of its own on the clip with its first frame four times."""
    model = ours()
    plain = TinyAutoencoder.from_config(model.config, pad="end")
    plain.load_state_dict(model.state_dict())
    given = video(9)
    longer = torch.cat([given[:, :, :1]] * 3 + [given], dim=2)
    assert_close(plain.encode_clip(longer), model.encode(given)[0], **CLOSE)


# --- doors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(1, 4, 1, 16, 16), "4 channels"),
        (torch.zeros(1, 3, 0, 16, 16), "empty"),
        (torch.zeros(0, 3, 1, 16, 16), "empty"),
        (torch.zeros(1, 3, 1, 20, 16), "20×16 pixels do not divide by 8"),
        (torch.zeros(1, 3, 1, 16, 12), "16×12 pixels do not divide by 8"),
    ],
)
def test_a_video_of_another_form_is_refused(model: TinyAutoencoder, given: Tensor, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        model.encode(given)


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_frames_that_end_inside_a_latent_frame_are_refused(frames: int) -> None:
    with pytest.raises(ShapeError, match=r"4k \+ 1 to begin"):
        ours().encode(video(frames))


@pytest.mark.parametrize("frames", [1, 5, 6])
def test_later_frames_that_end_inside_a_latent_frame_are_refused(frames: int) -> None:
    model = ours()
    _, state = model.encode(video(1))
    with pytest.raises(ShapeError, match="4k to go on"):
        model.encode(video(frames), state)


@pytest.mark.parametrize(("shape", "said"), [((1, 8, 1, 2, 3), "8 channels"), ((1, 16, 0, 2, 3), "empty")])
def test_latents_of_another_form_are_refused(
    model: TinyAutoencoder, shape: tuple[int, int, int, int, int], said: str
) -> None:
    with pytest.raises(ShapeError, match=said):
        model.decode(torch.zeros(shape))


def test_a_state_of_another_stream_is_refused(model: TinyAutoencoder) -> None:
    _, encoding = model.encode(video(5))
    _, decoding = model.decode(latents(1))
    for step, given, state in (
        (model.encode, video(4, batch=2), encoding),
        (model.encode, video(4, width=32), encoding),
        (model.encode, video(4), decoding),
        (model.decode, latents(1, batch=2), decoding),
        (model.decode, latents(1), encoding),
    ):
        with pytest.raises(ShapeError, match="stream"):
            step(given, state)
    for state in (TaeState(), decoding):
        with pytest.raises(ShapeError, match="no frame to repeat"):
            model.flush(state)


@pytest.mark.parametrize(
    "wrong",
    [
        {"encoder_widths": (4, 8)},
        {"encoder_blocks": (1, 1)},
        {"decoder_time": (True,)},
        {"decoder_space": (True, True, True)},
        {"latents_mean": (0.0,) * 15},
        {"latents_std": (0.0,) * 16},
    ],
)
def test_a_config_that_does_not_fit_is_refused(wrong: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ConfigError):
        TinyAutoencoder(**wrong)


# --- training -------------------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter(model: TinyAutoencoder) -> None:
    model.set_normalisation([0.1] * 16, [0.9] * 16)
    given = video(13)
    frames, between = model(given)
    assert between.shape == (1, 16, 4, 2, 3)
    assert frames.shape == given.shape
    (frames - given).square().mean().backward()
    still = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert not still


def test_what_is_cut_still_trains_without_the_limit() -> None:
    model = ours()
    torch.nn.init.constant_(model.decoder[-1].bias, 9.0)  # everything far above white
    given = latents(1).requires_grad_()
    assert model.decode(given)[0].max() == 1
    model.decode(given)[0].sum().backward()
    assert given.grad is not None
    assert given.grad.abs().sum() == 0
    model.decode(given, limit=False)[0].sum().backward()
    assert given.grad.abs().sum() > 0


def test_latents_leave_normalised_and_come_back() -> None:
    model, given = ours(), video(33)
    raw, _ = model.encode(given)
    mean, std = raw.mean(dim=(0, 2, 3, 4)), raw.std(dim=(0, 2, 3, 4))
    frames, _ = model.decode(raw)
    model.set_normalisation(mean.tolist(), std.tolist())
    normal, _ = model.encode(given)
    assert_close(normal.mean(dim=(0, 2, 3, 4)), torch.zeros(16), atol=1e-4, rtol=0)
    assert_close(normal.std(dim=(0, 2, 3, 4)), torch.ones(16), atol=1e-4, rtol=0)
    assert_close(model.decode(normal)[0], frames, **CLOSE)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    model, given = ours(), video(5)
    model.set_normalisation([0.5] * 16, [2.0] * 16)
    model.save_pretrained(tmp_path)
    loaded = TinyAutoencoder.from_pretrained(tmp_path)
    assert loaded.strides == model.strides
    again = TinyAutoencoder.from_config(model.config)
    again.load_state_dict(model.state_dict())
    assert_close(again(given), model(given), atol=0, rtol=0)
    assert_close(loaded(given), model(given), atol=0, rtol=0)


# --- previews -------------------------------------------------------------------------------------------------------


def test_a_preview_is_smaller_and_shares_no_weights() -> None:
    model, given = published(), latents(3)
    model.set_normalisation([0.5] * 16, [2.0] * 16)
    preview = model.preview((False, False, True), (True, False, True))
    frames, _ = preview.decode(given)
    assert frames.shape == (1, 3, 5, 8, 12)
    assert_close(preview.encode_clip(video(5)), model.encode_clip(video(5)), atol=0, rtol=0)
    assert_close(
        model.preview((False, True, True), (True,) * 3).decode(given)[0], model.decode(given)[0], atol=0, rtol=0
    )
    with torch.no_grad():
        preview.decoder[1].weight.zero_()
    assert model.decoder[1].weight.abs().sum() > 0


def test_a_preview_cannot_grow_more_than_its_model() -> None:
    with pytest.raises(ConfigError, match="more than"):
        published().preview((True, True, True), (True, True, True))
    with pytest.raises(ConfigError, match="entries"):
        published().preview((False,), (True, True, True))


def test_a_decoder_that_looks_at_guides_shows_what_they_show_where_they_count() -> None:
    """And is what it was without them."""
    torch.manual_seed(0)
    plain = TinyAutoencoder(decoder_widths=(8, 8, 8), encoder_widths=(8, 8, 8))
    looking = grown(plain, (2, 2, 3), guides=5)
    latents = torch.randn(1, 16, 3, 2, 3)
    guides = torch.zeros(1, 5, 9, 16, 24)
    guides[:, :3] = torch.rand(1, 3, 9, 16, 24) * 2 - 1
    guides[:, 3, 4:] = 1.0
    with torch.no_grad():
        was, alone, shown = (
            plain.decode(latents)[0],
            looking.decode(latents)[0],
            looking.decode(latents, guides=guides)[0],
        )
    assert torch.allclose(alone, was, atol=1e-5)
    assert (shown[:, :, 4:] - guides[:, :3, 4:]).abs().mean() < 0.2 * (was[:, :, 4:] - guides[:, :3, 4:]).abs().mean()
    assert (shown[:, :, :4] - was[:, :, :4]).abs().mean() < 0.05 * (was[:, :, :4] - guides[:, :3, :4]).abs().mean()


@pytest.mark.parametrize(("model", "guides"), [("plain", 5), ("looking", 4), ("looking", 5)])
def test_guides_that_do_not_fit_are_refused(model: str, guides: int) -> None:
    plain = TinyAutoencoder(decoder_widths=(8, 8, 8), encoder_widths=(8, 8, 8))
    made = {"plain": plain, "looking": grown(plain, guides=5)}[model]
    frames = 9 if (model, guides) != ("looking", 5) else 12
    with pytest.raises(ShapeError, match=r"guides of .* this decoder takes"):
        made.decode(torch.randn(1, 16, 3, 2, 3), guides=torch.zeros(1, guides, frames, 16, 24))


def test_what_is_trusted_stands_at_least_so_far() -> None:
    """With a gate that is shut, the picture that is given counts as much as it is trusted; without one, nothing."""
    plain = grown(ours(), guides=9)
    with torch.no_grad():
        for weight in plain.parameters():
            weight.mul_(0)
        plain.gate.bias.fill_(-50.0)  # type: ignore[union-attr]
    options = {name: value for name, value in plain.config.items() if not name.startswith("_")}
    trusting = TinyAutoencoder(**(options | {"trust": (0.25, 0.75)}))
    trusting.load_state_dict(plain.state_dict())
    guides = torch.zeros(1, 9, 5, 32, 48)
    guides[:, :3], guides[:, 3, :3, :16] = 1.0, 1.0  # white; the upper half is seen, for three frames
    before, after = (model.decode(torch.zeros(1, 16, 2, 4, 6), guides=guides)[0] for model in (plain, trusting))
    share = (after - before) / (1 - before)
    assert torch.allclose(share[:, :, :3, :13], torch.tensor(0.75), atol=1e-5)
    assert torch.allclose(share[:, :, :3, 19:], torch.tensor(0.25), atol=1e-5)
    assert torch.equal(after[:, :, 3:], before[:, :, 3:]), "nothing is seen: nothing is there"
    with pytest.raises(ConfigError, match="trust"):
        TinyAutoencoder(trust=(0.5, 1.5))


def test_what_looks_at_guides_is_saved_and_loaded_as_it_is(tmp_path: Path) -> None:
    made = grown(TinyAutoencoder(decoder_widths=(8, 8, 8), encoder_widths=(8, 8, 8)), guides=5)
    made.save_pretrained(tmp_path)
    again = TinyAutoencoder.from_pretrained(tmp_path)
    assert again.guides == 5
    latents, guides = torch.randn(1, 16, 2, 2, 3), torch.rand(1, 5, 5, 16, 24)
    with torch.no_grad():
        assert torch.equal(again.decode(latents, guides=guides)[0], made.decode(latents, guides=guides)[0])
