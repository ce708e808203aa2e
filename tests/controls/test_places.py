"""Where things stood: found again by a camera that has gone elsewhere, whole or by a strip, and nothing else is."""

import numpy as np
import pytest

from longvie.controls.places import Places

FOCAL, H, W = 100.0, 48, 88
HEIGHT, WIDTH = 0.6, 0.4  # of the thing


def back(forward: float, turn: float) -> np.ndarray:
    """Takes what a camera shows that went forward and turned to the right to the first one's picture."""
    lens = np.diag([FOCAL, FOCAL, 1.0])
    c, s = np.cos(turn), np.sin(turn)
    made = np.eye(4)
    made[:3, :3] = lens @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.linalg.inv(lens)
    made[:3, 3] = lens @ np.array([0, 0, forward])
    return made


def box(at: tuple[float, float, float], here: np.ndarray) -> tuple[np.ndarray, float]:
    """The pixels of a thing that stands at a place of the first camera's, and its disparity, as another one sees it."""
    x, y, away = np.linalg.solve(here[:3, :3], np.diag([FOCAL, FOCAL, 1.0]) @ np.array(at) - here[:3, 3])
    centre = x / away + W / 2, y / away + H / 2
    across, down = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    inside = (abs(across - centre[0]) < FOCAL * WIDTH / 2 / away) & (abs(down - centre[1]) < FOCAL * HEIGHT / 2 / away)
    return inside, 1 / away


def known(*spots: tuple[float, float, float]) -> tuple[Places, np.ndarray, np.ndarray]:
    """Things 1, 2 … that were seen whole by the first camera, which of them are known, and their sizes."""
    places, numbers = Places(5), np.arange(1, len(spots) + 1)
    shown = [box(spot, back(0, 0)) for spot in spots]
    middles = np.array([(np.argwhere(inside).mean(0) + 0.5 - (H / 2, W / 2))[::-1] for inside, _ in shown])
    counts, near = np.array([int(inside.sum()) for inside, _ in shown]), np.array([near for _, near in shown])
    places.learn(numbers, counts, middles, near, back(0, 0))
    told = np.zeros(5, bool)
    told[numbers] = True
    return places, told, np.full((5, 2), (FOCAL * HEIGHT, FOCAL * WIDTH))


@pytest.mark.parametrize(("forward", "turn"), [(0.0, 0.0), (1.0, 0.2), (-1.5, -0.25)])
@pytest.mark.parametrize("strip", [False, True])
def test_each_is_found_where_it_stood(forward: float, turn: float, *, strip: bool) -> None:
    spots = (-0.5, 0.1, 4.0), (0.5, 0.0, 4.0)
    places, told, size = known(*spots)
    here, found = back(forward, turn), []
    for spot in spots:
        inside, near = box(spot, here)
        if strip:
            inside[:, int(np.flatnonzero(inside.any(0))[0]) + 2 :] = False
        found.append(places.there(inside, near, told, size, here) if inside.any() else None)
    assert [it for it in found if it is not None] == [n for n, it in zip((1, 2), found, strict=True) if it is not None]
    assert any(found)


def test_what_stands_elsewhere_or_farther_away_is_none_of_them() -> None:
    places, told, size = known((0.0, 0.0, 4.0))
    for spot in ((0.5, 0.0, 4.0), (0.0, 0.0, 5.0), (0.0, 0.0, 3.2)):
        assert places.there(*box(spot, back(0, 0)), told, size, back(0, 0)) == 0
    inside, near = box((0.0, 0.0, 4.0), back(0, 0))
    assert places.there(inside, near, told, size, back(0, 0)) == 1
    assert places.there(inside, near, np.zeros(5, bool), size, back(0, 0)) == 0, "it is here already"
    assert places.there(inside, near, told, size, None) == 0, "nobody knows how the camera went"
    assert places.seen_from(None).there(inside, near, told, size, back(0, 0)) == 0
    behind = back(6.0, 0.0)
    assert places.there(inside, near, told, size, behind) == 0, "the camera has passed it"


def test_they_go_on_from_another_first_frame_and_in_another_scale() -> None:
    spot, here = (0.3, 0.1, 4.0), back(1.0, 0.15)
    places, told, size = known(spot)
    inside, near = box(spot, here)
    assert places.seen_from(here).there(inside, near, told, size, np.eye(4)) == 1
    double = here.copy()
    double[:3, 3] /= 2
    assert places.scaled(2.0).there(inside, 2 * near, told, size / 2, double) == 1


def test_a_part_of_a_thing_does_not_move_its_place() -> None:
    spot = (0.0, 0.0, 4.0)
    places, told, size = known(spot)
    inside, near = box(spot, back(0, 0))
    places.learn(np.array([1]), np.array([inside.sum() // 3]), np.array([[-3.0, 0.0]]), np.array([near]), back(0, 0))
    assert places.spot[1] == pytest.approx(known(spot)[0].spot[1])
    assert places.there(inside, near, told, size, back(0, 0)) == 1
