"""One span of a script → what the transformer is told, for both seams."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from longvie.controls import get
from longvie.controls.carried import carry
from longvie.controls.control import rendered_spans
from longvie.controls.guides import COUNT
from longvie.controls.trackset import track_signal
from longvie.engine import conditioning
from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.pixels import LONGVIE_2, NONE, PixelSeam
from longvie.engine.script import Direction, Script, Still
from longvie.engine.seam import Given, LatentSeam
from longvie.engine.state import ClipState
from longvie.engine.stream import decoded
from longvie.errors import ConfigError, ScriptError
from longvie.media import to_bytes, to_unit
from longvie.models.models import Models
from longvie.models.tae import TinyAutoencoder
from longvie.training.stages.autoencoder import grown
from small import direction, full_script, picture, script

CELLS = (4, 6)  # of 32×48 pixels


@pytest.fixture
def latent(models: Models) -> LatentSeam:
    return LatentSeam(models, recent=4, places=0)


@pytest.fixture
def pixel(longvie_models: Models) -> PixelSeam:
    return PixelSeam(longvie_models, LONGVIE_2)


def whole(asked: Direction, frames: int) -> Tensor:
    """A control's pictures, all at once."""
    return torch.cat(list(rendered_spans(asked.control, asked.signal, asked.scale, stop=frames)), dim=1)[None]


def latents(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 16, frames, *CELLS, generator=torch.Generator().manual_seed(seed))


def given(seam: LatentSeam | PixelSeam, asked: Script, clip: int, state: ClipState) -> tuple[Given, ClipState]:
    return seam.given(asked, asked.spans(shared=isinstance(seam, PixelSeam))[clip], state)


# --- the latent seam ------------------------------------------------------------------------------------------------


def test_widened_latents_stand_where_the_noisy_ones_do_and_nothing_else_is_said() -> None:
    control = conditioning.widened(latents(3), 36)
    assert torch.equal(control[:, :16], latents(3))
    assert not control[:, 16:].any()


def test_the_first_clip_has_no_history_and_its_picture_at_its_first_latent_frame(latent: LatentSeam) -> None:
    told, _ = given(latent, script(81, picture=picture()), 0, ClipState(0))
    assert told.history is None and told.history_times is None
    assert told.condition is not None
    mask, shown = told.condition[:, :4], told.condition[:, 4:]
    assert mask[:, :, 0].eq(1).all() and not mask[:, :, 1:].any()
    assert torch.equal(shown[:, :, :1], latent.latents(picture()[None]))
    assert not shown[:, :, 1:].any()


def test_a_keyframe_is_a_still_at_its_latent_frame_as_strong_as_asked(latent: LatentSeam) -> None:
    asked = script(161, keyframes=(Still(6, picture(1), 0.25), Still(160, picture(2))))
    first, _ = given(latent, asked, 0, ClipState(0))
    assert first.condition is not None
    assert first.condition[0, :4, 2].eq(0.25).all()  # frames 5 to 8
    assert_close(first.condition[:, 4:, 2:3], 0.25 * latent.latents(picture(1)[None]))
    assert first.condition[0, :4].sum() == 0.25 * 4 * CELLS[0] * CELLS[1]
    second, _ = given(latent, asked, 1, ClipState(0, 1, 81, latents(1), latents(4)))
    assert second.condition is not None
    assert second.condition[0, :4, 19].eq(1).all()
    assert torch.equal(second.condition[:, 4:, 19:], latent.latents(picture(2)[None]))
    assert not second.condition[:, :, :19].any()


def test_history_is_the_first_latent_frame_and_the_last_four_clean_and_at_time_zero(latent: LatentSeam) -> None:
    made = latents(21)
    (*_, (_, after)) = latent.frames(made, script(161).spans()[0], ClipState(0), Given())
    assert after is not None and after.clip == 1
    told, _ = given(latent, script(161), 1, after)
    assert told.history is not None
    kept = torch.cat((made[:, :, :1], made[:, :, -4:]), dim=2)
    assert torch.equal(told.history[:, :16], kept)
    assert told.history[:, 16:20].eq(1).all()
    assert torch.equal(told.history[:, 20:], kept)
    assert told.history_times is not None and told.history_times.tolist() == [[0.0] * 5]
    (*_, (_, later)) = latent.frames(latents(20, 1), script(241).spans()[1], after, Given())
    assert later is not None and later.anchor is not None and later.recent is not None
    assert torch.equal(later.anchor, made[:, :, :1])  # for ever
    assert torch.equal(later.recent, latents(20, 1)[:, :, -4:])


def test_controls_encoded_clip_by_clip_are_those_encoded_whole(latent: LatentSeam) -> None:
    asked = full_script(161)
    first, state = given(latent, asked, 0, ClipState(0))
    second, _ = given(latent, asked, 1, state)
    for number, control in enumerate(asked.controls):
        parts = [told.controls[number].latents[:, :16] for told in (first, second)]
        assert [part.shape[2] for part in parts] == [21, 20]
        assert_close(torch.cat(parts, dim=2), latent.latents(whole(control, 161)))
    assert [told.kind for told in first.controls] == [0, None]
    assert [told.branch for told in first.controls] == ["dense", "sparse"]
    assert first.controls[0].strength.eq(0.8).all()


def test_past_the_end_of_a_signal_its_last_picture_is_held(latent: LatentSeam) -> None:
    asked = script(100, controls=(direction("depth", 100),))
    _, state = given(latent, asked, 0, ClipState(0))
    told, _ = given(latent, asked, 1, state)
    drawn = whole(asked.controls[0], 100)
    held = torch.cat((drawn, drawn[:, :, -1:]), dim=2)  # 101 frames are made for 100
    assert_close(told.controls[0].latents[:, :16], latent.latents(held)[:, :, 21:])


def test_a_control_that_is_off_is_not_read(latent: LatentSeam) -> None:
    asked = script(241, controls=(direction("depth", 241, start=90, stop=100),))
    state = ClipState(0)
    inputs = []
    for clip in range(3):
        told, state = given(latent, asked, clip, state)
        inputs.append(len(told.controls))
        assert set(state.controls) == ({"depth"} if clip == 1 else set())
    assert inputs == [0, 1, 0]


def test_a_control_that_is_switched_on_later_begins_with_the_frame_before(latent: LatentSeam) -> None:
    asked = script(161, controls=(direction("depth", 161, start=90),))
    told, _ = given(latent, asked, 1, ClipState(0, 1, 81, latents(1), latents(4)))
    drawn = whole(asked.controls[0], 161)[:, :, 80:]
    assert told.controls[0].latents.shape[2] == 20
    assert_close(told.controls[0].latents[:, :16], latent.latents(drawn)[:, :, 1:])
    assert told.controls[0].strength[0, :4].tolist() == [0, 0, 0.75, 1]  # frames 81-84, 85-88, 89-92, 93-96


def test_a_later_clip_starts_from_the_last_twenty_frames_of_the_noise(latent: LatentSeam) -> None:
    noise, nothing = latents(21), Given()
    first, second, last = script(181).spans()
    assert torch.equal(latent.start(noise, first, nothing), noise)
    assert torch.equal(latent.start(noise, second, nothing), noise[:, :, 1:])
    assert torch.equal(latent.start(noise, last, nothing), noise[:, :, 1:6])


def test_frames_of_two_clips_are_those_decoded_whole(latent: LatentSeam) -> None:
    made, asked, state = latents(41), script(161), ClipState(0)
    found = []
    for span, part in zip(asked.spans(), (made[:, :, :21], made[:, :, 21:]), strict=True):
        for frames, after in latent.frames(part, span, state, Given()):
            found.append(frames)
            state = after or state
    assert_close(torch.cat(found, dim=1), latent.models.autoencoder.decode(made)[0][0])


# --- the pixel seam -------------------------------------------------------------------------------------------------


def test_a_first_clip_is_told_what_was_published(pixel: PixelSeam) -> None:
    asked = full_script(81)
    told, _ = given(pixel, asked, 0, ClipState(0))
    assert told.history is None
    assert_close(told.condition, conditioning.picture_channels(pixel.latents, picture()[None, :, 0], 81))
    for number, control in enumerate(asked.controls):
        channels = conditioning.control_channels(pixel.latents, whole(control, 81))
        assert_close(told.controls[number].latents, channels)
        assert told.controls[number].kind is None
    assert pixel.models.pictures is not None
    assert_close(told.pictures, pixel.models.pictures.encode(picture()[None, :, 0]))


def test_the_next_clip_begins_with_the_last_frame_in_eight_bits(pixel: PixelSeam) -> None:
    spans = full_script(161).spans(shared=True)
    shown = list(pixel.frames(latents(21), spans[0], ClipState(0), Given()))
    video, after = torch.cat([frames for frames, _ in shown], dim=1), shown[-1][1]
    assert after is not None and after.tail is not None
    assert torch.equal(after.tail, to_unit(to_bytes(video[:, -8:], rounding="truncate")))
    told, _ = given(pixel, full_script(161), 1, after)
    assert_close(told.condition, conditioning.picture_channels(pixel.latents, after.tail[None, :, -1], 81))
    oldest = pixel.latents(after.tail[None, :, :5])
    assert_close(told.history, conditioning.history_tokens_longvie(oldest))
    assert told.history_times is None  # the clip's own
    start = pixel.start(latents(21, 1), spans[1], told)
    assert_close(start[:, :, 0], 2 / 27 * oldest[:, :, -1] + 25 / 27 * latents(21, 1)[:, :, 0])
    assert torch.equal(start[:, :, 1:], latents(21, 1)[:, :, 1:])


def test_without_quirks_the_newest_frames_are_read_and_nothing_is_rounded_or_blended(longvie_models: Models) -> None:
    seam = PixelSeam(longvie_models, NONE)
    spans = full_script(161).spans(shared=True)
    shown = list(seam.frames(latents(21), spans[0], ClipState(0), Given()))
    video, after = torch.cat([frames for frames, _ in shown], dim=1), shown[-1][1]
    assert after is not None and after.tail is not None
    assert torch.equal(after.tail, video[:, -8:])
    told, _ = given(seam, full_script(161), 1, after)
    assert_close(told.history, conditioning.history_tokens_longvie(seam.latents(video[None, :, -5:])))
    assert torch.equal(seam.start(latents(21), spans[1], told), latents(21))


def test_a_later_clip_shows_its_shared_frame_no_second_time(pixel: PixelSeam) -> None:
    span = script(161).spans(shared=True)[1]
    made = latents(21)
    found = torch.cat([frames for frames, _ in pixel.frames(made, span, ClipState(0, 1, 81), Given())], dim=1)
    assert_close(found, pixel.models.autoencoder.decode(made)[0][0, :, 1:])


def test_a_keyframe_is_held_for_its_latent_frame(pixel: PixelSeam) -> None:
    asked = script(81, picture=picture(), keyframes=(Still(80, picture(1), 0.5),))
    told, _ = given(pixel, asked, 0, ClipState(0))
    video = conditioning.still(picture()[None, :, 0], 81)
    video[:, :, 77:] = picture(1)
    assert told.condition is not None
    assert_close(told.condition[:, 4:], pixel.latents(video))
    assert told.condition[0, 0, :, 0, 0].tolist() == [1.0, *[0.0] * 19, 0.5]


# --- what cannot be told --------------------------------------------------------------------------------------------


def test_longvie_begins_with_a_picture(longvie_models: Models) -> None:
    with pytest.raises(ScriptError, match="begins with a picture"):
        ClipEngine(longvie_models).run(script(17))


def test_a_model_without_image_channels_refuses_pictures(models: Models) -> None:
    config = models.transformer.config | {"in_channels": 16, "branch_positions": "clip"}
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    plain = replace(models, transformer=type(models.transformer)(**config).eval())
    engine = ClipEngine(plain, ClipConfig(steps=1))
    with pytest.raises(ScriptError, match="takes no pictures"):
        engine.run(script(9, picture=picture()))
    frames = [chunk.frames for chunk in engine.run(script(100, controls=(direction("depth", 100),)))]
    assert sum(part.shape[1] for part in frames) == 100


def test_two_keyframes_in_one_latent_frame_are_refused(models: Models) -> None:
    with pytest.raises(ScriptError, match="two pictures are given for frames 5 to 8"):
        ClipEngine(models).run(script(17, keyframes=(Still(5, picture()), Still(8, picture()))))


def test_what_was_given_last_is_held() -> None:
    """Before anything is given the history's last latent frame stands, and a keyframe takes over from where it is."""
    pictures, known = latents(5), torch.tensor([[0.0, 0.0, 0.5, 0.0, 0.0]])
    condition = conditioning.given(pictures * (known > 0)[0, :, None, None], known)
    before = latents(1, seed=1)[:, :, 0]
    held = conditioning.held(condition, before)
    assert_close(held[:, :4], condition[:, :4])
    assert_close(held[:, 4:, :2], before[:, :, None].expand(-1, -1, 2, -1, -1))
    assert_close(held[:, 4:, 2:], pictures[:, :, 2:3].expand(-1, -1, 3, -1, -1))
    assert not conditioning.held(condition)[:, 4:, :2].any()


def test_where_tracks_are_on_the_carried_picture_stands_until_a_keyframe_is_given() -> None:
    pictures, moved, known = latents(5), latents(5, seed=3), torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]])
    condition = conditioning.given(pictures * (known > 0)[0, :, None, None], known)
    moves = torch.tensor([[True, True, False, True, True]])
    held = conditioning.held(condition, None, moved, moves)[:, 4:]
    assert_close(held[:, :, 0], pictures[:, :, 0])  # given
    assert_close(held[:, :, 1], moved[:, :, 1])
    assert_close(held[:, :, 2], pictures[:, :, 0])  # the tracks are off
    assert_close(held[:, :, 3:], pictures[:, :, 3:4].expand(-1, -1, 2, -1, -1))


def test_the_mask_says_how_much_of_a_moved_picture_is_really_seen() -> None:
    """Below 0, so that it is not taken for a picture that is given; only where it stands."""
    condition = conditioning.given(latents(3), torch.tensor([[1.0, 0.0, 0.0]]))
    seen, moves = torch.rand(1, 4, 3, *CELLS), torch.tensor([[True, True, False]])
    mask = conditioning.held(condition, None, latents(3, seed=3), moves, seen)[:, :4]
    assert (mask[:, :, 0] == 1).all() and not mask[:, :, 2].any()
    assert torch.equal(mask[:, :, 1], -seen[:, :, 1])


def test_a_model_that_was_trained_so_is_given_the_last_known_picture(models: Models) -> None:
    holding = replace(models, card=replace(models.card, holds="last"))
    asked = script(161, picture=picture())
    plain, held = (given(LatentSeam(m, recent=4, places=0), asked, 0, ClipState(0))[0] for m in (models, holding))
    first = plain.condition[:, 4:, :1]
    assert not plain.condition[:, 4:, 1:].any()
    assert_close(held.condition[:, 4:], first.expand_as(held.condition[:, 4:]))
    recent = latents(4, seed=2)
    later, _ = given(LatentSeam(holding, recent=4, places=0), asked, 1, ClipState(0, 1, 81, latents(1), recent))
    assert_close(later.condition[:, 4:], recent[:, :, -1:].expand_as(later.condition[:, 4:]))


def drifting(frames: int, *, step: float = 0.25) -> Direction:
    """Points all over the picture that drift to the right together, for as long as the signal lasts."""
    start = np.random.default_rng(0).uniform((0, 0, 1), (48, 32, 9), (300, 3)).astype(np.float32)
    points = start[None] + np.arange(frames, dtype=np.float32)[:, None, None] * np.float32([step, 0, 0])
    return Direction.fitted(get("tracks"), track_signal(points, size=(32, 48), fps=16))


@pytest.mark.parametrize("clip", [0, 1])
def test_tracks_move_the_last_known_picture(models: Models, clip: int) -> None:
    """In the first clip the first picture, in a later one the last frame that was shown."""
    seam = LatentSeam(replace(models, card=replace(models.card, holds="moved")), recent=4, places=0)
    known = torch.linspace(-1, 1, 48).expand(3, 1, 32, 48).contiguous()
    state = ClipState(0) if clip == 0 else ClipState(0, 1, 81, latents(1), latents(4, seed=2), tail=known)
    asked = script(161, picture=known if clip == 0 else picture(), controls=(drifting(161),))
    told, _ = given(seam, asked, clip, state)
    frames = 81
    start = drifting(161).signal.read(80 * clip, 80 * clip + frames)
    seen = torch.from_numpy(start.shown())
    video = carry(known[:, 0], torch.from_numpy(start.points[..., :2]), seen).pictures
    wanted = seam.latents(video[None])[:, :, clip:]
    assert_close(told.condition[:, 4:, 1 - clip :], wanted[:, :, 1 - clip :])
    resting = seam.latents(known.expand(3, frames, 32, 48)[None])[:, :, -1]
    assert not torch.allclose(wanted[:, :, -1], resting, atol=1e-3)


def guided(models: Models) -> Models:
    """The same, with a decoder that shows where the guides count what they show."""
    return replace(models, card=replace(models.card, holds="moved"), autoencoder=looking(models))


def looking(models: Models, count: int = COUNT) -> TinyAutoencoder:
    return grown(models.autoencoder, tuple(models.autoencoder.config["decoder_blocks"]), guides=count)


@pytest.mark.parametrize("clip", [0, 1])
def test_the_decoder_is_told_what_is_known_of_each_frame(models: Models, clip: int) -> None:
    """In a later clip from the frame after the last known one on, and depth as it is drawn, times its strength."""
    seam = LatentSeam(guided(models), recent=4, places=0)
    known = torch.linspace(-1, 1, 48).expand(3, 1, 32, 48).contiguous()
    state = ClipState(0) if clip == 0 else ClipState(0, 1, 81, latents(1), latents(4, seed=2), tail=known)
    depth = direction("depth", 161, strength=0.5)
    asked = script(161, picture=known if clip == 0 else picture(), controls=(drifting(161), depth))
    told, _ = given(seam, asked, clip, state)
    span = asked.spans()[clip]
    start = drifting(161).signal.read(80 * clip, 80 * clip + 81)
    disparity = torch.from_numpy(depth.signal.read(80 * clip, 80 * clip + 81)).float()
    moved = carry(known[:, 0], torch.from_numpy(start.points[..., :2]), torch.from_numpy(start.shown()), disparity)
    drawn = torch.cat(list(seam.drawn(depth, span.start, span.stop)), dim=1)
    assert told.guides.shape == (1, COUNT, 81 - clip, 32, 48)
    assert torch.allclose(told.guides[0, :3], moved.pictures[:, clip:], atol=1e-5)
    assert torch.equal(told.guides[0, 3:4].bool(), moved.seen[:, clip:])
    assert torch.allclose(told.guides[0, 4:5], 0.5 * drawn[:1], atol=1e-5)
    assert not told.guides[0, 5:].any()


def test_after_a_keyframe_the_moved_picture_is_not_shown(models: Models) -> None:
    seam = LatentSeam(guided(models), recent=4, places=0)
    asked = script(81, picture=picture(), controls=(drifting(81),), keyframes=(Still(40, picture()),))
    told, _ = given(seam, asked, 0, ClipState(0))
    assert told.guides[0, 3, :37].any() and not told.guides[0, :4, 37:].any()  # frames 37 to 40 are one latent frame


def test_guides_keep_to_their_frames_however_many_are_decoded_at_once(models: Models) -> None:
    autoencoder, looks = guided(models).autoencoder, torch.rand(1, COUNT, 81, 32, 48)
    looks[:, 3] = (looks[:, 3] > 0.5).float()
    at_once = torch.cat([f for f, _ in decoded(latents(21), autoencoder, None, "here", guides=looks)], dim=1)
    with torch.no_grad():
        whole = autoencoder.decode(latents(21), guides=looks)[0][0]
    assert torch.allclose(at_once, whole, atol=1e-5)
    others = looks.roll(1, dims=2)
    assert not torch.allclose(autoencoder.decode(latents(21), guides=others)[0][0], whole, atol=1e-2)


def test_a_decoder_with_other_guides_is_refused(models: Models) -> None:
    other = replace(models, autoencoder=looking(models, COUNT - 1))
    with pytest.raises(ConfigError, match=f"looks at {COUNT - 1} channels of guides; there are {COUNT}"):
        LatentSeam(other, recent=4, places=0)


def test_the_last_frame_is_kept_for_the_next_clip_by_models_that_carry(models: Models) -> None:
    for holds, kept in (("last", False), ("moved", True)):
        seam = LatentSeam(replace(models, card=replace(models.card, holds=holds)), recent=4, places=0)
        (*_, (frames, after)) = seam.frames(latents(21), script(161).spans()[0], ClipState(0), Given())
        assert after is not None and (after.tail is not None) == kept
        if after.tail is not None:
            assert torch.equal(after.tail, frames[:, -1:])
