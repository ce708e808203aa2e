"""What was shown last goes over into what comes next, along the same paths, where it shows the same."""

import torch

from longvie.controls.paths import Way
from longvie.engine.fading import FRAMES, Fading

HEIGHT, WIDTH = 8, 12


def way(frames: int, *, by: float = 0.0) -> Way:
    """A way on which everything moves by so many pixels a frame to the right; the left half of it is seen."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    grid = torch.stack(
        [torch.stack([(x - by * at) / WIDTH * 2 - 1, y / HEIGHT * 2 - 1], dim=-1) for at in range(frames)]
    )
    visible = torch.zeros(frames, HEIGHT, WIDTH, dtype=torch.bool)
    visible[..., : WIDTH // 2] = True
    return Way(grid, visible, None)


def test_it_goes_from_what_was_to_what_is() -> None:
    fading = Fading.of(torch.ones(3, HEIGHT, WIDTH), [way(1), way(16)])
    assert fading is not None
    new = torch.zeros(3, 20, HEIGHT, WIDTH)
    shown = fading.over(new, 0)
    course = shown[0, :, 0, 0]
    assert torch.allclose(course[:FRAMES], 1 - torch.arange(1, FRAMES + 1) / (FRAMES + 1))
    assert bool((course[FRAMES:] == 0).all())
    assert bool((shown[..., WIDTH // 2 :] == 0).all())  # what it does not show is as it was made


def test_it_moves_as_the_scene_does() -> None:
    picture = torch.zeros(3, HEIGHT, WIDTH)
    picture[:, :, 1] = 1.0
    fading = Fading.of(picture, [way(1 + FRAMES, by=1.0)])
    assert fading is not None
    assert fading.pictures[0, 2, 4].argmax() == 4  # three frames later: at 1 + 3


def test_in_pieces_it_is_the_same() -> None:
    fading = Fading.of(torch.rand(3, HEIGHT, WIDTH), [way(1 + FRAMES)])
    assert fading is not None
    new = torch.rand(3, 20, HEIGHT, WIDTH)
    pieces = [fading.over(new[:, at : at + 4], at) for at in range(0, 20, 4)]
    assert torch.equal(torch.cat(pieces, dim=1), fading.over(new, 0))


def test_where_nothing_moves_it_there_is_nothing_to_fade() -> None:
    assert Fading.of(torch.ones(3, HEIGHT, WIDTH), []) is None
