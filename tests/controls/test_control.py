"""The register, lengths and rates, and the step from rendered frames to latents."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longvie import controls
from longvie.controls import signals
from longvie.controls.control import Carried, Scale, encode_span, encode_spans
from longvie.controls.depth import DepthRange
from longvie.controls.signals import ArraySignal, Joined, LoadReport, align_signal, crop_box, held, place
from longvie.errors import ConfigError, ControlError, ShapeError


def numbers(frames: int, *, fps: float = 16, content: str = "disparity") -> ArraySignal:
    """Frame i holds i everywhere."""
    values = np.arange(frames, dtype=np.float32)[:, None, None] * np.ones((1, 4, 6), np.float32)
    return ArraySignal(values, fps, LoadReport("depth", content, frames, fps, 4, 6))


def shown(signal: Any) -> list[int]:
    return signal.read(0, signal.frames)[:, 0, 0].astype(int).tolist()


def test_an_unknown_control_or_option_names_the_nearest() -> None:
    with pytest.raises(ControlError, match="did you mean 'depth'"):
        controls.get("dept")
    with pytest.raises(ControlError, match="did you mean 'limit'"):
        controls.get("tracks", limmit=3)
    with pytest.raises(ControlError, match="depth declaration has no field 'contnt'; did you mean 'content'"):
        controls.control.declare(controls.depth.DepthDeclared, {"contnt": 1}, "depth declaration")


def test_kinds_of_the_dense_branch_are_numbered_in_order() -> None:
    for number, name in enumerate(controls.DENSE_KINDS):
        assert controls.get(name).kind == number
        assert controls.get(name).branch == "dense"
    assert (controls.get("tracks").branch, controls.get("tracks").kind) == ("sparse", None)


def test_a_name_is_entered_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        controls.register("depth")(controls.depth.Depth)


def test_a_scale_refuses_fields_that_it_does_not_have() -> None:
    with pytest.raises(ControlError, match="did you mean 'near'"):
        DepthRange.from_json({"nearr": 1.0})
    assert isinstance(DepthRange.from_json({}), Scale)


# --- length and rate


def test_equal_lengths_pass_untouched() -> None:
    assert shown(align_signal(numbers(5), frames=5, fps=16, align="error")) == [0, 1, 2, 3, 4]
    assert align_signal(numbers(5), frames=None, fps=16, align="error").frames == 5


def test_another_length_is_an_error_that_says_both_and_the_fix() -> None:
    with pytest.raises(ControlError) as short:
        align_signal(numbers(79), frames=81, fps=16, align="error")
    assert str(short.value) == 'depth covers 79 frames, the clip needs 81: add 2, or use align="pad-last"'
    assert short.value.code == "control_length"
    with pytest.raises(ControlError, match='covers 82 frames, the clip needs 81: drop 1, or use align="trim"'):
        align_signal(numbers(82), frames=81, fps=16, align="error")
    with pytest.raises(ControlError, match="add 2"):
        align_signal(numbers(79), frames=81, fps=16, align="trim")
    with pytest.raises(ControlError, match="drop 1"):
        align_signal(numbers(82), frames=81, fps=16, align="pad-last")


def test_trim_and_pad_last_do_what_they_say_and_note_it() -> None:
    cut = align_signal(numbers(5), frames=3, fps=16, align="trim")
    assert shown(cut) == [0, 1, 2]
    assert "last 2 frames left out" in str(cut.report)
    padded = align_signal(numbers(3), frames=6, fps=16, align="pad-last")
    assert shown(padded) == [0, 1, 2, 2, 2, 2]
    assert "held for 3 frames" in str(padded.report)


def test_another_rate_is_noted_and_changes_nothing_unless_asked() -> None:
    same = align_signal(numbers(5, fps=8), frames=5, fps=16, align="error")
    assert shown(same) == [0, 1, 2, 3, 4]
    assert same.fps == 16
    assert "8 fps played frame by frame at 16 fps" in str(same.report)


def test_resample_keeps_the_duration_or_fills_the_clip() -> None:
    assert shown(align_signal(numbers(5, fps=8), frames=None, fps=16, align="resample")) == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert shown(align_signal(numbers(9), frames=5, fps=16, align="resample")) == [0, 2, 4, 6, 8]
    assert shown(align_signal(numbers(3), frames=5, fps=16, align="resample")) == [0, 1, 1, 2, 2]
    assert shown(align_signal(numbers(1), frames=3, fps=16, align="resample")) == [0, 0, 0]
    far = align_signal(numbers(900), frames=3, fps=16, align="resample")
    assert shown(far)[::2] == [0, 899]


@pytest.mark.parametrize(("have", "frames"), [(7, 20), (20, 7), (400, 9), (1, 5)])
def test_resampled_spans_are_the_resampled_whole(have: int, frames: int) -> None:
    signal = align_signal(numbers(have), frames=frames, fps=12.5, align="resample")
    spans = [int(signal.read(at, at + 1)[0, 0, 0]) for at in range(frames)]
    assert spans == shown(signal)
    assert spans == sorted(spans)


def test_an_unknown_policy_names_the_known() -> None:
    with pytest.raises(ConfigError, match="use one of error, trim, pad-last, resample"):
        align_signal(numbers(3), frames=3, fps=16, align="pad_last")


def test_a_single_picture_is_held() -> None:
    assert shown(held(numbers(1), 4)) == [0, 0, 0, 0]
    assert held(numbers(2), 4).frames == 2
    assert held(numbers(1), None).frames == 1


def test_joined_clips_drop_their_shared_frame() -> None:
    joined = Joined([numbers(5), numbers(5), numbers(5)])
    assert joined.frames == 13
    assert shown(joined) == [0, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
    assert [int(joined.read(at, at + 1)[0, 0, 0]) for at in range(13)] == shown(joined)
    assert "3 clips joined" in str(joined.report)


def test_clips_that_do_not_belong_together_are_not_joined() -> None:
    with pytest.raises(ControlError, match="use one kind for all clips"):
        Joined([numbers(5), numbers(5, content="metric")])
    with pytest.raises(ControlError, match="bring them to one size and rate"):
        Joined([numbers(5), numbers(5, fps=8)])
    with pytest.raises(ControlError, match="at least one"):
        Joined([])


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 3), (4, 6), (2, 1)])
def test_spans_outside_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ControlError, match="has 5"):
        numbers(5).read(start, stop)


def test_large_frames_are_mapped_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are asked for, a wrapper holds no more of its source than `AT_ONCE` pixels."""
    read: list[int] = []

    def double(frames: np.ndarray) -> np.ndarray:
        read.append(len(frames))
        return 2 * frames

    monkeypatch.setattr(signals, "AT_ONCE", 3 * 4 * 6)
    source = numbers(10)
    mapped = signals.Mapped(source, double, 4, 6, source.report)
    assert shown(mapped) == list(range(0, 20, 2))
    assert max(read) == 3


# --- placing


def test_cover_keeps_the_middle_and_stretch_keeps_all() -> None:
    assert crop_box((480, 832), (96, 176), "cover") == (13, 0, 454, 832)
    assert crop_box((100, 300), (50, 50), "cover") == (0, 100, 100, 100)
    assert crop_box((100, 300), (50, 50), "stretch") == (0, 0, 100, 300)
    picture = np.zeros((1, 100, 300, 3), np.uint8)
    picture[:, :, 100:200] = 255
    assert (place(picture, (50, 50)) == 255).all()
    assert place(picture, (50, 50), crop="stretch").min() == 0


# --- encoding


def stub(video: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """A causal encoder: each latent frame is the mean of its frames plus what came just before."""
    video = video[..., ::2, ::2]
    b, c, f, h, w = video.shape
    lone = 1 if state is None else 0
    assert (f - lone) % 4 == 0
    before = torch.zeros(b, c, 1, h, w) if state is None else state
    first = [video[:, :, :1]] if lone else []
    groups = [video[:, :, at : at + 4].mean(2, keepdim=True) for at in range(lone, f, 4)]
    latents = torch.cat([*first, *groups], dim=2)
    shifted = torch.cat([before, latents[:, :, :-1]], dim=2)
    return latents + 0.5 * shifted, latents[:, :, -1:]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7, 16, 33])
def test_encoding_in_spans_is_encoding_whole(step: int) -> None:
    video = torch.rand(3, 33, 2, 2)
    whole, _ = stub(video[None], None)
    spans = [video[:, at : at + step] for at in range(0, 33, step)]
    assert torch.allclose(torch.cat(list(encode_spans(spans, stub)), dim=2), whole)


def test_frames_that_do_not_fill_a_latent_frame_wait() -> None:
    latents, carried = encode_span(torch.rand(3, 3, 2, 2), stub, Carried())
    assert latents is not None
    assert latents.shape[2] == 1
    assert carried.waiting is not None
    assert carried.waiting.shape[1] == 2
    latents, carried = encode_span(torch.rand(3, 1, 2, 2), stub, carried)
    assert latents is None
    latents, carried = encode_span(torch.rand(3, 1, 2, 2), stub, carried)
    assert latents is not None
    assert carried.waiting is None


def test_an_end_inside_a_latent_frame_says_what_to_do() -> None:
    with pytest.raises(ShapeError, match="3 frames at the end do not fill a latent frame: drop 3 or add 1"):
        list(encode_spans([torch.rand(3, 8, 2, 2)], stub))
