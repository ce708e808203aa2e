"""Carried pictures of encoded clips: from where, from what, and kept through a file."""

from pathlib import Path

import torch

from longvie.controls.carried import carry
from longvie.data import clips, latents
from longvie.data.streams import pictures
from longvie.models.models import tiny

CLIP = clips.make(3, size=(32, 48))
AUTOENCODER = tiny().autoencoder


def test_windows_with_carried_pictures_begin_at_the_start_at_the_sixth_latent_frame_and_further_on() -> None:
    for number in range(20):
        first, second, third = latents.begins(number, 25)
        assert (first, second) == (0, 5)
        assert 5 < third <= 16  # 9 latent frames fit behind it
        assert latents.begins(number, 25) == (first, second, third)


def test_a_later_window_carries_the_last_picture_before_it() -> None:
    """Latent frame 5 begins after video frame 16."""
    made = latents.carried_from(CLIP, 5, AUTOENCODER)
    assert made.shape == (16, 20, 4, 6)
    live = CLIP.visible[16]
    points, seen = CLIP.points[16:, live, :2], CLIP.visible[16:, live]
    video = carry(pictures(CLIP, "picture")[:, 16], points[0], points, seen)
    with torch.no_grad():
        wanted = AUTOENCODER.encode(video[None])[0][0, :, 1:]
    assert torch.allclose(made.float(), wanted, atol=0.02)


def test_an_encoded_clip_keeps_them_through_a_file(tmp_path: Path) -> None:
    made = latents.encode(CLIP, AUTOENCODER)
    latents.save(tmp_path / "clip.safetensors", made)
    again = latents.load(tmp_path / "clip.safetensors")
    assert set(again.carried) == set(latents.begins(3, 25))
    assert all(torch.equal(again.carried[at], made.carried[at]) for at in made.carried)
    assert again.carried[0].shape[1] == 25
