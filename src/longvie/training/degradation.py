"""What a long rollout does to pictures and controls, simulated for training (LongVie 2 §3.2; reference §6.3).

Each degradation is a plain function of its draws, and a `draw_…` of a generator that makes them. Videos are
(b, 3, f, h, w) in [-1, 1]; a batch shares its draws, so call it per sample where they should differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from longvie.engine.flow import Latents, noised

Video = Float[Tensor, "b c f h w"]

SCALES = tuple(0.5**level for level in range(6))  # 1 … 1/32
SPREAD = 0.08  # of the drift's mask: standard deviation as a share of the width
CYCLES = (5, 4, 3, 2, 1)  # how likely 1, 2, … round trips are, against each other
STEPS = {1: 6, 2: 4, 3: 3, 4: 2, 6: 1}  # last steps of sampling that are done again, and how likely each is


@dataclass(frozen=True)
class DegradationConfig:
    """How often, and how strongly; the defaults are the published history stage's.

    Attributes:
        control: probability that a control video is fused and blurred.
        blur: that a blur, once chosen, really happens.
        feature: that the dense branch's embedded patches are multiplied by a number between `gain`.
        picture: that the first picture has gone through the autoencoder several times.
        history: the same for the history.
        drift: that colours drift, of the picture; `history_drift` of the history.
        picture_tint, history_tint: between which strengths colours drift.
        variation: how much the strength varies over the picture.
    """

    control: float = 0.05
    blur: float = 0.9
    feature: float = 0.05
    gain: tuple[float, float] = (0.8, 1.2)
    picture: float = 0.10
    history: float = 0.05
    drift: float = 0.10
    history_drift: float = 0.05
    picture_tint: tuple[float, float] = (0.1, 0.2)
    history_tint: tuple[float, float] = (0.1, 0.3)
    variation: float = 0.3


# --- controls -------------------------------------------------------------------------------------------------------


def fused(video: Video, scales: Sequence[float], weights: Float[Tensor, " n"]) -> Video:
    """The video seen at several scales at once, weighted; weights are brought to a sum of 1."""
    flat = video.flatten(0, 2)[:, None]  # (b c f, 1, h, w)
    size = flat.shape[-2:]
    total = torch.zeros_like(flat)
    for scale, weight in zip(scales, (weights / weights.sum()).to(flat), strict=True):
        small = [max(1, int(side * scale)) for side in size]
        down = functional.interpolate(flat, size=small, mode="bilinear", align_corners=False)
        total += weight * functional.interpolate(down, size=size, mode="bilinear", align_corners=False)
    return total.reshape(video.shape)


def blurred(video: Video, window: int) -> Video:
    """The mean over a square window of odd size. Beyond the border lies black, as published, so borders darken."""
    flat = (video.flatten(0, 2)[:, None] + 1) / 2
    mean = functional.avg_pool2d(flat, window, stride=1, padding=window // 2, count_include_pad=True)
    return (mean * 2 - 1).reshape(video.shape)


def draw_fused(video: Video, generator: torch.Generator) -> Video:
    """Fusion of all scales but one, with random weights."""
    dropped = _integer(len(SCALES), generator)
    scales = [scale for level, scale in enumerate(SCALES) if level != dropped]
    return fused(video, scales, torch.rand(len(scales), generator=generator))


def draw_blurred(video: Video, generator: torch.Generator) -> Video:
    """A window drawn from 3 to 15; an even one grows by one."""
    drawn = 3 + _integer(13, generator)
    return blurred(video, drawn + 1 - drawn % 2)


def draw_control(video: Video, generator: torch.Generator, config: DegradationConfig = DegradationConfig()) -> Video:
    """With probability `config.control` fusion, blur, or twice as often both in either order; else the video itself."""
    if not chance(config.control, generator):
        return video
    order = torch.randperm(2, generator=generator).tolist()
    for step in order[: min(2, 1 + _integer(3, generator))]:  # published: one to three of these two
        if step == 0:
            video = draw_fused(video, generator)
        elif chance(config.blur, generator):
            video = draw_blurred(video, generator)
    return video.clamp(-1, 1)


def draw_gain(batch: int, generator: torch.Generator, config: DegradationConfig = DegradationConfig()) -> Tensor:
    """(b,) factors for `ControlInput.gain`, most of them 1."""
    low, high = config.gain
    drawn = low + (high - low) * torch.rand(batch, generator=generator)
    return torch.where(torch.rand(batch, generator=generator) < config.feature, drawn, torch.ones(batch))


# --- pictures and history -------------------------------------------------------------------------------------------


def colour_drift(
    video: Float[Tensor, "b 3 f h w"],
    offset: Float[Tensor, " 3"],
    noise: Float[Tensor, "h w"],
    *,
    strength: float,
    variation: float,
) -> Float[Tensor, "b 3 f h w"]:
    """The video pulled towards a tint, a little more here than there.

    Args:
        offset: of the tint from the video's mean colour, on the scale [0, 1].
        noise: uniform; blurred with a Gaussian of 0.08·width it says where the pull is strong.
        strength: the share of the tint where the blurred noise is in its middle.
        variation: how far the share moves from there, relative to itself.
    """
    unit = (video + 1) / 2
    tint = (unit.double().mean(dim=(2, 3, 4)) + offset.to(video.device)).clamp(0, 1).to(unit)  # (b, 3)
    smooth = _gaussian(noise.double(), SPREAD * noise.shape[1])
    where = (smooth - smooth.min()) / (smooth.max() - smooth.min()).clamp_min(torch.finfo(torch.float64).tiny)
    share = (strength * (1 + variation * (where - 0.5))).clamp(0, 1).to(unit)
    return ((1 - share) * unit + share * tint[:, :, None, None, None]) * 2 - 1


def draw_colour_drift(
    video: Float[Tensor, "b 3 f h w"], tint: tuple[float, float], generator: torch.Generator, variation: float = 0.3
) -> Float[Tensor, "b 3 f h w"]:
    """Colour drift of a strength between the two of `tint`."""
    offset = torch.rand(3, generator=generator, dtype=torch.float64) * 0.2 - 0.1
    noise = torch.rand(video.shape[-2:], generator=generator)
    strength = tint[0] + (tint[1] - tint[0]) * float(torch.rand((), generator=generator))
    return colour_drift(video, offset, noise, strength=strength, variation=variation)


def round_trips(video: Video, trip: Callable[[Video], Video], times: int) -> Video:
    """The video after so many trips through the autoencoder: `trip` encodes and decodes."""
    for _ in range(times):
        video = trip(video)
    return video


def draw_round_trips(video: Video, trip: Callable[[Video], Video], generator: torch.Generator) -> Video:
    """One to five trips, fewer likelier."""
    return round_trips(video, trip, 1 + int(torch.multinomial(torch.tensor(CYCLES).float(), 1, generator=generator)))


def draw_reimagined(
    latents: Latents,
    denoise: Callable[[Latents, Float[Tensor, " points"]], Latents],
    times: Float[Tensor, " points"],
    generator: torch.Generator,
) -> Latents:
    """Latents noised a little and sampled again by the model, as a long rollout does to them.

    Args:
        denoise: noisy latents and the levels still to go (from theirs down to 0) → clean latents.
        times: levels of a whole sampling; the last 1, 2, 3, 4 or 6 steps are done again.
    """
    likely = torch.tensor(list(STEPS.values())).float()
    steps = list(STEPS)[int(torch.multinomial(likely, 1, generator=generator))]
    left = times[-1 - min(steps, len(times) - 1) :]
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return denoise(noised(latents, noise, left[0]), left)


def chance(probability: float, generator: torch.Generator) -> bool:
    """True that often."""
    return float(torch.rand((), generator=generator)) < probability


def _integer(below: int, generator: torch.Generator) -> int:
    return int(torch.randint(below, (), generator=generator))


def _gaussian(picture: Float[Tensor, "h w"], deviation: float) -> Float[Tensor, "h w"]:
    """Blurred along both axes; the picture is mirrored at its border, the border itself not repeated."""
    reach = (round(8 * deviation + 1) | 1) // 2  # as wide as OpenCV's
    offsets = torch.arange(-reach, reach + 1, device=picture.device)
    kernel = torch.exp(-0.5 * (offsets.to(picture) / deviation).square())
    kernel = kernel / kernel.sum()
    for axis in (0, 1):
        size = picture.shape[axis]
        period = max(1, 2 * (size - 1))
        places = (torch.arange(size, device=picture.device)[:, None] + offsets) % period
        places = torch.minimum(places, period - places) if size > 1 else torch.zeros_like(places)
        gathered = picture.index_select(axis, places.flatten()).unflatten(axis, places.shape)
        dims = ([axis + 1], [0])
        picture = torch.tensordot(gathered, kernel, dims=dims)  # pyright: ignore[reportArgumentType] - stub of one form
    return picture
