"""What every autoencoder promises, whatever its network: laws, no numbers."""

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.models.autoencoder import Autoencoder, AutoencoderState, Tiled, Tiles, WanAutoencoder, blend, ramp
from longvie.models.tae import TinyAutoencoder


def wan(dim_mult: tuple[int, ...] = (1, 2, 2, 2), time: tuple[bool, ...] = (False, True, True)) -> WanAutoencoder:
    channels = 4
    network = AutoencoderKLWan(
        base_dim=4,
        z_dim=channels,
        dim_mult=list(dim_mult),
        num_res_blocks=1,
        temperal_downsample=list(time),
        latents_mean=[0.1 * at for at in range(channels)],
        latents_std=[1.0 + 0.5 * at for at in range(channels)],
    )
    return WanAutoencoder(network)


def tiny() -> TinyAutoencoder:
    model = TinyAutoencoder(
        latent_channels=4,
        encoder_widths=(4, 6, 8),
        encoder_blocks=(1, 1, 1),
        decoder_widths=(8, 6, 4),
        decoder_blocks=(1, 1, 1),
        latents_mean=[0.1, 0.2, 0.3, 0.4],
        latents_std=[1.0, 2.0, 3.0, 4.0],
    )
    return model.requires_grad_(False).eval()


KINDS: dict[str, Callable[[], Autoencoder]] = {
    "wan": wan,
    "wan, two stages": lambda: wan((1, 2), (True,)),
    "wan, tiled": lambda: Tiled(wan(), Tiles(size=(2, 3), stride=(1, 2))),
    "tiny": tiny,
    "tiny, tiled": lambda: Tiled(tiny(), Tiles(size=(2, 2), stride=(1, 1))),
}


@pytest.fixture(params=KINDS, scope="module")
def model(request: pytest.FixtureRequest) -> Autoencoder:
    torch.manual_seed(3)
    return KINDS[request.param]()


def video_for(model: Autoencoder, latent_frames: int, *, cells: tuple[int, int] = (3, 4)) -> Tensor:
    frames = (latent_frames - 1) * model.strides.time + 1
    height, width = (side * model.strides.space for side in cells)
    generator = torch.Generator().manual_seed(latent_frames)
    return torch.rand(2, 3, frames, height, width, generator=generator) * 2 - 1


def latents_for(model: Autoencoder, latent_frames: int, *, cells: tuple[int, int] = (3, 4)) -> Tensor:
    generator = torch.Generator().manual_seed(latent_frames)
    return torch.randn(2, model.latent_channels, latent_frames, *cells, generator=generator)


def encode_in(model: Autoencoder, video: Tensor, groups: list[int]) -> tuple[Tensor, AutoencoderState | None]:
    """Groups are counted in latent frames."""
    sizes = [count * model.strides.time for count in groups]
    sizes[0] -= model.strides.time - 1
    done, state = [], None
    for span in video.split(sizes, dim=2):
        latents, state = model.encode(span, state)
        done.append(latents)
    return torch.cat(done, dim=2), state


def decode_in(model: Autoencoder, latents: Tensor, groups: list[int]) -> tuple[Tensor, AutoencoderState | None]:
    done, state = [], None
    for span in latents.split(groups, dim=2):
        video, state = model.decode(span, state)
        done.append(video)
    return torch.cat(done, dim=2), state


GROUPS = [[1, 1, 1, 1, 1], [1, 4], [3, 2], [2, 1, 2]]


def test_it_is_an_autoencoder(model: Autoencoder) -> None:
    assert isinstance(model, Autoencoder)
    assert model.dtype == torch.float32
    assert model.device == torch.device("cpu")


def test_sizes(model: Autoencoder) -> None:
    latents, state = model.encode(video_for(model, 3))
    assert latents.shape == (2, model.latent_channels, 3, 3, 4)
    assert state.seen == 2 * model.strides.time + 1
    video, state = model.decode(latents)
    assert video.shape == video_for(model, 3).shape
    assert state.seen == 3
    assert isinstance(state, AutoencoderState)


@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_encoding_in_steps_is_encoding_whole(model: Autoencoder, groups: list[int]) -> None:
    video = video_for(model, 5)
    assert_close(encode_in(model, video, groups)[0], model.encode(video)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_decoding_in_steps_is_decoding_whole(model: Autoencoder, groups: list[int]) -> None:
    latents = latents_for(model, 5)
    assert_close(decode_in(model, latents, groups)[0], model.decode(latents)[0], rtol=1e-4, atol=1e-5)


def test_the_past_matters(model: Autoencoder) -> None:
    """Else the two laws above would hold for a model that forgets."""
    video, latents = video_for(model, 3), latents_for(model, 3)
    step = model.strides.time
    _, encoding = model.encode(video[:, :, :-step])
    other, _ = model.encode(-video[:, :, :-step])
    _, another = model.encode(-video[:, :, :-step])
    assert not torch.allclose(
        model.encode(video[:, :, -step:], encoding)[0], model.encode(video[:, :, -step:], another)[0]
    )
    assert other.isfinite().all()
    _, decoding = model.decode(latents[:, :, :-1])
    _, another = model.decode(-latents[:, :, :-1])
    assert not torch.allclose(
        model.decode(latents[:, :, -1:], decoding)[0], model.decode(latents[:, :, -1:], another)[0]
    )


def test_the_future_does_not(model: Autoencoder) -> None:
    video, latents = video_for(model, 4), latents_for(model, 4)
    time = model.strides.time
    changed = video.clone()
    changed[:, :, -time:] *= -1
    assert_close(model.encode(changed)[0][:, :, :-1], model.encode(video)[0][:, :, :-1])
    changed = latents.clone()
    changed[:, :, -1] *= -1
    assert_close(model.decode(changed)[0][:, :, :-time], model.decode(latents)[0][:, :, :-time])


def test_a_state_may_be_used_twice(model: Autoencoder) -> None:
    video, latents = video_for(model, 3), latents_for(model, 3)
    step = model.strides.time
    _, state = model.encode(video[:, :, :-step])
    once = model.encode(video[:, :, -step:], state)[0]
    model.encode(-video[:, :, -step:], state)
    assert torch.equal(model.encode(video[:, :, -step:], state)[0], once)
    _, state = model.decode(latents[:, :, :1])
    once = model.decode(latents[:, :, 1:], state)[0]
    model.decode(-latents[:, :, 1:], state)
    assert torch.equal(model.decode(latents[:, :, 1:], state)[0], once)


@pytest.mark.parametrize("before", [1, 2, 3])
def test_saved_and_restored_goes_on_as_if_never_stopped(
    model: Autoencoder, before: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("state") / "state.safetensors"
    video, latents = video_for(model, 4), latents_for(model, 4)
    _, state = encode_in(model, video[:, :, : (before - 1) * model.strides.time + 1], [before])
    assert state is not None
    save_file(state.tensors(), file)
    rest = video[:, :, (before - 1) * model.strides.time + 1 :]
    assert torch.equal(model.encode(rest, model.restore(load_file(file)))[0], model.encode(rest, state)[0])
    _, state = model.decode(latents[:, :, :before])
    save_file(state.tensors(), file)
    restored = model.restore(load_file(file))
    assert restored.seen == before
    rest = latents[:, :, before:]
    again, after = model.decode(rest, restored)
    assert torch.equal(again, model.decode(rest, state)[0])
    assert after.seen == 4


def test_two_streams_do_not_meet(model: Autoencoder) -> None:
    latents = latents_for(model, 4)
    first, one = model.decode(latents[:, :, :2])
    second, two = model.decode(-latents[:, :, :2])
    one_on = model.decode(latents[:, :, 2:], one)[0]
    two_on = model.decode(-latents[:, :, 2:], two)[0]
    assert_close(torch.cat([first, one_on], dim=2), model.decode(latents)[0], rtol=1e-4, atol=1e-5)
    assert_close(torch.cat([second, two_on], dim=2), model.decode(-latents)[0], rtol=1e-4, atol=1e-5)


def test_limit_cuts_to_the_range_of_a_picture(model: Autoencoder) -> None:
    latents = latents_for(model, 2) * 40
    raw, limited = model.decode(latents, limit=False)[0], model.decode(latents)[0]
    assert_close(raw.clamp(-1, 1), limited)


def test_what_does_not_fit_is_refused(model: Autoencoder) -> None:
    video, latents = video_for(model, 3), latents_for(model, 3)
    with pytest.raises(ShapeError, match="latent frame"):
        model.encode(video[:, :, :-1])
    _, state = model.encode(video)
    with pytest.raises(ShapeError, match="latent frame"):
        model.encode(video[:, :, : model.strides.time + 1], state)
    with pytest.raises(ShapeError):
        model.encode(video[..., :-1])
    with pytest.raises(ShapeError, match="channels"):
        model.decode(latents[:, :-1])
    with pytest.raises(ShapeError, match="state"):
        model.encode(video_for(model, 3, cells=(3, 6)), state)
    _, state = model.decode(latents)
    with pytest.raises(ShapeError, match="state"):
        model.decode(latents[:1], state)
    with pytest.raises(InputError):
        model.restore({"nonsense": torch.zeros(1)})


def test_wan_forgets_frames_that_fill_no_group_only_when_asked() -> None:
    torch.manual_seed(0)
    model = wan()
    history = video_for(model, 3)[:, :, :8]
    latents, state = model.encode(history, drop_extra=True)
    assert latents.shape[2] == 2
    assert state.seen == 5
    assert torch.equal(latents, model.encode(history[:, :, :5])[0])


def test_wan_agrees_with_diffusers_own_loop() -> None:
    torch.manual_seed(0)
    model = wan()
    video, latents = video_for(model, 3), latents_for(model, 3)
    mean, deviation = model.mean, model.deviation
    assert_close(model.encode(video)[0], (model.network.encode(video).latent_dist.mode() - mean) / deviation)
    assert_close(model.decode(latents)[0], model.network.decode(latents * deviation + mean).sample)


@pytest.mark.parametrize("wrapped", ["before", "after"])
def test_wan_in_half_precision(wrapped: str) -> None:
    torch.manual_seed(0)
    model = wan().to(torch.bfloat16) if wrapped == "before" else WanAutoencoder(wan().network.to(torch.bfloat16))
    assert model.dtype == torch.bfloat16
    latents, _ = model.encode(video_for(model, 2).bfloat16())
    video, _ = model.decode(latents)
    assert latents.dtype == video.dtype == torch.bfloat16
    assert video.isfinite().all()


def test_wan_wants_one_mean_per_channel() -> None:
    with pytest.raises(ConfigError, match="3 latent channels"):
        WanAutoencoder(AutoencoderKLWan(base_dim=4, z_dim=3, dim_mult=[1, 1, 1, 1], num_res_blocks=1))


@pytest.mark.parametrize("stride", [(0, 1), (3, 1)])
def test_tiles_that_leave_gaps_are_refused(stride: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="stride"):
        Tiles(size=(2, 2), stride=stride)


def test_one_tile_is_the_whole() -> None:
    torch.manual_seed(0)
    model = wan()
    tiled, latents = Tiled(model, Tiles(size=(8, 8), stride=(4, 4))), latents_for(model, 2)
    assert_close(tiled.decode(latents)[0], model.decode(latents)[0])


@pytest.mark.parametrize(
    ("cells", "size", "stride", "starts"), [(4, 3, 2, [0, 2]), (5, 3, 2, [0, 2]), (6, 2, 2, [0, 2, 4]), (3, 5, 1, [0])]
)
def test_no_tile_begins_once_the_edge_is_reached(cells: int, size: int, stride: int, starts: list[int]) -> None:
    spans = Tiles(size=(size, 1), stride=(stride, 1)).spans(0, cells)
    assert [span.start for span in spans] == starts
    assert spans[-1].stop == cells


def test_ramps_rise_and_fall_at_inner_edges_only() -> None:
    half = torch.tensor([0.5, 1.0])
    assert_close(ramp(slice(2, 6), 8, 2), torch.tensor([0.5, 1.0, 1.0, 0.5]))
    assert_close(ramp(slice(0, 2), 8, 2), half.flip(0))
    assert_close(ramp(slice(6, 8), 8, 2), half)
    assert_close(ramp(slice(2, 4), 8, 0), torch.ones(2))


def test_blending_pieces_of_one_picture_gives_the_picture() -> None:
    picture = torch.rand(1, 2, 3, 6, 7)
    tiles = Tiles(size=(3, 4), stride=(2, 2))
    places = [(rows, columns) for rows in tiles.spans(0, 6) for columns in tiles.spans(1, 7)]
    pieces = [picture[..., rows, columns] for rows, columns in places]
    assert_close(blend(pieces, places, (1, 2)), picture)
