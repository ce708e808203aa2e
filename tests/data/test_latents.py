"""Carried pictures of encoded clips: from where, from what, and kept through a file."""

from dataclasses import replace
from pathlib import Path

import torch

from longvie.controls.carried import carry
from longvie.data import clips, latents
from longvie.data.streams import pictures
from longvie.models.models import tiny

CLIP = clips.make(3, size=(32, 48))
AUTOENCODER = tiny().autoencoder


def test_windows_with_carried_pictures_begin_at_the_start_and_at_the_sixth_latent_frame_or_further_on() -> None:
    drawn = [latents.begins(number, 25) for number in range(30)]
    assert drawn == [latents.begins(number, 25) for number in range(30)]
    first, second = ([pair[k] for pair in drawn] for k in (0, 1))
    assert {at for at, _ in first} == {0}
    later = [at for at, _ in second]
    assert set(later) <= set(range(5, 17)) and 10 < later.count(5) < 25  # 9 latent frames fit behind the last
    assert [deep for _, deep in first].count(False) == [deep for _, deep in second].count(False) == 10


def test_a_later_window_carries_the_last_picture_before_it() -> None:
    """Latent frame 5 begins after video frame 16."""
    made = latents.carried_from(CLIP, 5, False, AUTOENCODER)
    assert made.latents.shape == (16, 20, 4, 6) and made.seen.shape == (4, 20, 4, 6)
    video = carry(pictures(CLIP, "picture")[:, 16], CLIP.points[16:, :, :2], CLIP.visible[16:]).pictures
    with torch.no_grad():
        wanted = AUTOENCODER.encode(video[None])[0][0, :, 1:]
    assert torch.allclose(made.latents.float(), wanted, atol=0.02)


def test_an_encoded_clip_keeps_them_through_a_file(tmp_path: Path) -> None:
    made = latents.encode(CLIP, AUTOENCODER)
    latents.save(tmp_path / "clip.safetensors", made)
    again = latents.load(tmp_path / "clip.safetensors")
    assert set(again.carried) == set(latents.begins(3, 25))
    for key, carried in made.carried.items():
        assert torch.equal(again.carried[key].latents, carried.latents)
        assert torch.equal(again.carried[key].seen, carried.seen)
    assert again.moved(0, True) is again.moved(0, False) is not None  # clip 3: by the tracks alone, at the start
    assert again.carried[0, False].latents.shape[1] == 25


def test_what_a_model_was_given_is_kept_through_a_file(tmp_path: Path) -> None:
    known = latents.encode(CLIP, AUTOENCODER)
    seen = torch.randint(256, (4, 20, 4, 6), dtype=torch.uint8)
    carried = latents.Carried(torch.randn(16, 20, 4, 6).bfloat16(), seen)
    own = latents.Worn(torch.randn(16, 5, 4, 6).bfloat16(), carried)
    latents.save(tmp_path / "clip.safetensors", replace(known, worn={5: own}))
    again = latents.load(tmp_path / "clip.safetensors")
    assert set(again.worn) == {5} and set(again.carried) == set(known.carried)
    assert torch.equal(again.worn[5].history, own.history)
    assert torch.equal(again.worn[5].carried.latents, carried.latents)
    assert torch.equal(again.worn[5].carried.seen, seen)
