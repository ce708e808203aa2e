"""Windows: shapes, what is left out, what stands where. The clips' values say which stream and frame they are of."""

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from longvie.controls.control import DENSE_KINDS
from longvie.data.latents import STILLS, Carried, ClipLatents, Pool, Worn
from longvie.data.streams import STREAMS
from longvie.errors import InputError
from longvie.models.transformer import ControlInput
from longvie.training.windows import DEPTH, Drops, Window, draw, places, plain, tokens
from made import GRID, LATENTS, clip_latents

NEVER = Drops(**{field.name: 0.0 for field in fields(Drops)})
ALWAYS = Drops(**{field.name: 1.0 for field in fields(Drops)})
CLIPS = [clip_latents(0), clip_latents(1), clip_latents(2)]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def window(
    begins: list[int], *, length: int = 9, recent: int | None = None, drops: Drops = NEVER, seed: int = 0
) -> Window:
    return draw(CLIPS, begins, generator(seed), length=length, recent=recent, drops=drops)


def by_branch(given: Window, name: str) -> list[ControlInput]:
    return [control for control in given.controls if control.branch == name]


@pytest.mark.parametrize(("length", "recent"), [(9, None), (21, None), (9, 0), (20, 4), (1, 2)])
def test_shapes(length: int, recent: int | None) -> None:
    begins = places(CLIPS, generator(), length=length, recent=recent)
    given = window(begins, length=length, recent=recent, drops=Drops())
    assert given.clean.shape == (3, 16, length, *GRID)
    assert given.condition.shape == (3, 20, length, *GRID)
    assert given.beats.shape == (3, length, 4)
    assert len(given.words) == 3
    assert (given.history is None) == (recent is None)
    if given.history is not None and recent is not None:
        assert given.history.shape == (3, 16, 1 + recent, *GRID)
        assert tokens(given.history).shape == (3, 36, 1 + recent, *GRID)
    for control in given.controls:
        assert control.latents.shape == (3, 36, length, *GRID)
        assert control.strength.shape == (3, length)


def moved(clip: ClipLatents) -> dict[tuple[int, bool], Carried]:
    """From the start by the tracks alone, from the sixth latent frame on also with depth; a fifth of it is seen."""
    picture = clip.streams["picture"]
    seen = torch.full((4, *picture.shape[1:]), 51, dtype=torch.uint8)
    return {
        (0, False): Carried(picture + 5000, seen),
        (5, False): Carried(picture[:, 5:] + 7000, seen[:, 5:]),
        (5, True): Carried(picture[:, 5:] + 9000, seen[:, 5:] * 2),
    }


CARRYING = [replace(clip, carried=moved(clip)) for clip in CLIPS]
SPARSE = replace(NEVER, dense=1.0)


@pytest.mark.parametrize(("at", "recent", "offset"), [(0, None, 5000.0), (5, 4, 7000.0)])
def test_a_carried_picture_stands_where_it_is_known_and_the_tracks_are_on(
    at: int, recent: int | None, offset: float
) -> None:
    given = draw(CARRYING, [at] * 3, generator(), length=9, recent=recent, drops=SPARSE)
    assert given.carried is not None and given.moves is not None
    assert torch.equal(given.carried, given.clean + offset)
    assert given.moves.all() and torch.allclose(given.seen, torch.tensor(0.2))
    off = draw(CARRYING, [at] * 3, generator(), length=9, recent=recent, drops=replace(NEVER, tracks=1.0))
    elsewhere = draw(CARRYING, [7] * 3, generator(), length=9, recent=4, drops=NEVER)
    assert off.moves is not None and not off.moves.any()
    assert elsewhere.moves is not None and not elsewhere.moves.any()


def test_depth_helps_to_carry_where_it_is_on_all_the_time() -> None:
    """Where that is not known, the tracks do it alone."""
    helped = set()
    for seed in range(8):
        given = draw(CARRYING, [5] * 3, generator(seed), length=9, recent=4, drops=NEVER)
        kinds, offset = given.controls[0].kind, (given.carried - given.clean)[:, 0, 0, 0, 0]
        assert torch.equal(offset, torch.where(kinds == DEPTH, 9000.0, 7000.0))
        assert torch.allclose(given.seen[:, 0, 0, 0, 0], torch.where(kinds == DEPTH, 0.4, 0.2))
        helped |= set(offset.tolist())
        start = draw(CARRYING, [0] * 3, generator(seed), length=9, recent=None, drops=NEVER)
        assert ((start.carried - start.clean) == 5000).all()
    assert helped == {7000.0, 9000.0}


def test_what_a_model_would_be_given_stands_for_the_truth_as_often_as_asked() -> None:
    left = LATENTS - 5
    seen = torch.zeros(4, left, *GRID, dtype=torch.uint8)
    own = Worn(torch.full((16, 5, *GRID), -1.0), Carried(torch.full((16, left, *GRID), -2.0), seen))
    clips = [replace(clip, worn={5: own}) for clip in CARRYING[:2]] + CARRYING[2:]
    plain = draw(clips, [5] * 3, generator(), length=9, recent=2, drops=NEVER)
    assert plain.history is not None and plain.history.min() >= 0
    for seed in range(8):
        worn = draw(clips, [5] * 3, generator(seed), length=9, recent=2, drops=NEVER, wears=1.0)
        assert (worn.history[:2] == -1).all() and worn.history[2].min() >= 0  # the third knows none
        deep = worn.controls[0].kind == DEPTH
        assert torch.equal(worn.moves.any(1), deep | torch.tensor([False, False, True]))  # it was moved with depth
        assert (worn.carried[:2][deep[:2]] == -2).all()
        assert torch.equal(worn.clean, plain.clean)


def test_a_first_picture_that_is_not_given_is_not_carried_either() -> None:
    given = draw(CARRYING, [0] * 3, generator(), length=9, recent=None, drops=replace(NEVER, picture=1.0))
    assert given.moves is not None and not given.moves.any()


def test_places_are_those_with_a_carried_picture_where_there_are_any() -> None:
    drawn = {at for seed in range(20) for at in places(CARRYING, generator(seed), length=9, recent=2)}
    assert drawn == {5}
    too_late = {at for seed in range(20) for at in places(CARRYING, generator(seed), length=9, recent=5)}
    assert too_late == set(range(6, LATENTS - 9 + 1))


def test_places_leave_room_for_the_history_and_for_the_window() -> None:
    assert places(CLIPS, generator(), length=21, recent=None) == [0, 0, 0]
    drawn = [at for seed in range(60) for at in places(CLIPS, generator(seed), length=18, recent=2)]
    assert set(drawn) == set(range(3, LATENTS - 18 + 1))


def test_a_window_is_the_picture_of_its_frames_and_history_the_first_and_the_last_before() -> None:
    given = window([5, 3, 12], recent=2)
    first = given.clean[:, 0, :, 0, 0]
    assert first.tolist() == [list(range(at, at + 9)) for at in (5, 3, 12)]
    assert given.history is not None
    assert given.history[:, 0, :, 0, 0].tolist() == [[0, 3, 4], [0, 1, 2], [0, 10, 11]]


def test_history_tokens_are_clean_and_wholly_known() -> None:
    history = torch.randn(2, 16, 3, *GRID)
    made = tokens(history)
    assert torch.equal(made[:, :16], history) and torch.equal(made[:, 20:], history)
    assert (made[:, 16:20] == 1).all()


def test_a_control_stands_where_noise_would_and_nothing_else_is_given() -> None:
    latents = torch.randn(2, 16, 3, *GRID)
    assert torch.equal(plain(latents)[:, :16], latents)
    assert not plain(latents)[:, 16:].any()


def test_controls_are_of_the_same_frames_and_of_the_kind_they_say() -> None:
    seen = set()
    for seed in range(8):
        given = window([5, 3, 12], recent=2, seed=seed)
        (dense,), (sparse,) = by_branch(given, "dense"), by_branch(given, "sparse")
        assert sparse.latents[:, 0, :, 0, 0].tolist() == [
            [100 * STREAMS.index("tracks") + at + k for k in range(9)] for at in (5, 3, 12)
        ]
        for sample, (kind, at) in enumerate(zip(dense.kind.tolist(), (5, 3, 12), strict=True)):
            wanted = [100 * STREAMS.index(DENSE_KINDS[kind]) + at + k for k in range(9)]
            assert dense.latents[sample, 0, :, 0, 0].tolist() == wanted
            seen.add(kind)
    assert seen == set(range(len(DENSE_KINDS)))


def test_nothing_is_dropped_when_all_chances_are_0() -> None:
    given = window([0, 0, 0])
    assert len(given.controls) == 2
    assert all((control.strength == 1).all() for control in given.controls)
    assert (given.condition[:, :4, 0] == 1).all()
    assert (given.condition[:, 4:, 0] == 1000).all()  # the still of latent frame 0
    assert not given.condition[:, :, 1:].any()  # no keyframe
    assert (given.beats > 0).all()
    assert given.words == ("clip 0 begins", "clip 1 begins", "clip 2 begins")


def test_all_is_dropped_when_all_chances_are_1() -> None:
    given = window([0, 0, 0], drops=ALWAYS)
    assert len(given.controls) == 4  # further dense controls are one of the chances
    dense = torch.stack([control.kind for control in given.controls[:3]])
    assert torch.equal(dense.sort(0).values, torch.arange(3)[:, None].expand(3, 3))  # none twice
    assert not any(control.strength.any() for control in given.controls)
    assert not given.condition[:, :, 0].any()
    assert not given.beats.any()
    assert given.words == ("", "", "")
    assert given.condition.any()  # keyframes have a chance to be there, not to be dropped


def test_both_drops_dense_and_tracks_of_the_same_sample() -> None:
    drops = Drops(dense=0.0, tracks=0.0, both=0.5, partial=0.0, more_dense=1.0)
    gone = []
    for seed in range(12):
        given = window([0, 0, 0], drops=drops, seed=seed)
        off = [(control.strength == 0).all(dim=1) for control in given.controls]
        assert all(torch.equal(off[0], other) for other in off)
        gone += off[0].tolist()
    assert 0 < sum(gone) < len(gone)


def test_a_partial_control_is_on_before_or_after_one_moment() -> None:
    drops = Drops(dense=0.0, tracks=0.0, both=0.0, partial=1.0, more_dense=0.0)
    shapes = set()
    for seed in range(20):
        for control in window([0, 0, 0], drops=drops, seed=seed).controls:
            for row in control.strength.tolist():
                assert set(row) == {0.0, 1.0}
                assert sum(a != b for a, b in pairwise(row)) == 1
                shapes.add(row[0])
    assert shapes == {0.0, 1.0}


def test_a_keyframe_shows_its_still_and_its_mask_is_its_strength() -> None:
    strengths = set()
    for seed in range(30):
        given = window([3, 3, 3], length=9, recent=2, drops=Drops(keyframe=1.0), seed=seed)
        for sample in given.condition:
            known = [at for at in range(9) if sample[0, at].any()]
            assert len(known) == 1
            (at,) = known
            assert 3 + at in STILLS
            (strength,) = sample[:4, at].unique().tolist()
            assert 0.2 <= strength <= 1
            assert torch.allclose(sample[4:, at], torch.tensor(strength * (1000 + 3 + at)), atol=1e-2)
            strengths.add(strength)
    assert 1.0 in strengths and len(strengths) > 3


def test_a_first_picture_belongs_to_the_beginning_of_a_video_alone() -> None:
    assert not window([3, 3, 3], recent=2).condition.any()
    assert not window([1, 1, 1], recent=0).condition.any()


@pytest.mark.parametrize(("at", "said"), [(1, "begins"), (3, "begins"), (6, "goes on"), (14, "goes on")])
def test_words_are_those_in_the_middle_of_the_window(at: int, said: str) -> None:
    """They change at video frame 40, latent frame 10; a window of 9 has its middle 4 further on."""
    assert window([at] * 3, recent=0).words == tuple(f"clip {number} {said}" for number in range(3))


def test_beats_are_those_of_the_frames() -> None:
    given = window([5, 3, 12], recent=2)
    assert torch.equal(given.beats[0], CLIPS[0].beats[5:14])


def test_a_window_goes_elsewhere_whole() -> None:
    given = window([0, 0, 0]).to("cpu")
    assert torch.equal(given.clean, window([0, 0, 0]).clean)
    assert given.history is None
    moved = window([3, 3, 3], recent=2).to("meta")
    tensors = [moved.clean, moved.condition, moved.history, moved.beats]
    tensors += [part for c in moved.controls for part in (c.latents, c.strength)] + [moved.controls[0].kind]
    assert all(isinstance(tensor, torch.Tensor) and tensor.device.type == "meta" for tensor in tensors)


def test_the_same_draws_make_the_same_window() -> None:
    one, same, other = (window([0, 0, 0], drops=Drops(), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.condition, same.condition) and one.words == same.words
    assert all(torch.equal(a.strength, b.strength) for a, b in zip(one.controls, same.controls, strict=True))
    assert not all(
        torch.equal(a.strength, b.strength) and torch.equal(a.latents, b.latents)
        for a, b in zip(one.controls, other.controls, strict=False)
    )


def test_a_pool_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no encoded clips"):
        Pool.open(tmp_path)
