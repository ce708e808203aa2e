"""A small streaming autoencoder of 2-D convolutions: ours, and the published `taew2_1`, are two configs of one class.

Time is mixed in three places only: a residual block sees its own input of one step earlier, a pool puts two frames on
the channels, a grow takes them apart again (`models.tae_layers`). What a stream remembers is therefore a few tensors,
`TaeState`, handed in and handed back (`models.streams`); the module holds weights alone, so one model serves many
viewers and a state can be saved or forked. As each of these tensors is there once its layer is done, a call may follow
another that is still at work, a layer behind it (`coming`).
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone reads
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from longvie.errors import ConfigError, ShapeError
from longvie.models.streams import Coming, TaeState
from longvie.models.tae_layers import decoder_stack, encoder_stack, over_frames, unshuffled
from longvie.shapes import Strides

SOFT = 5  # pixels of a side over which trust goes from one to the other


class TinyAutoencoder(ModelMixin, ConfigMixin):
    """Video ↔ normalised latents, whole or as a stream of any grouping.

    Latents leave `encode` as the transformer takes them. Where frames do not come in whole latent frames, `pad` says
    which one is repeated:

    - `"start"` (ours): the first frame, `strides.time - 1` times in front. Latent 0 sees frame 0 alone and latent k no
      frame after 4k. A first call takes 4k + 1 frames and gives k + 1 latents, a later one takes 4k and gives k.
    - `"end"` (`taew2_1`): the last frame, at the end of a clip. Latent k is ready after frame 4k + 3, three later
      than the last frame it stands for; frames may come in any number, `flush` gives what still waits.

    Args:
        latent_channels: channels of a latent frame.
        patch: side of the square of pixels put on the channels before anything else.
        encoder_widths: channels per stage, finest first; each step to the next halves height and width.
        encoder_blocks: memory blocks per stage.
        encoder_time: per step between stages, whether two frames are pooled into one.
        decoder_widths: channels per stage, coarsest first.
        decoder_blocks: memory blocks per stage.
        decoder_time: per step between stages, whether a frame grows into two.
        decoder_space: per step between stages, whether height and width are doubled.
        pad: see above.
        guides: channels of the pictures that the decoder may look at beside the latents, of them the first three RGB
            that may stand in the result as it is and the fourth where it counts (`models.guides`); 0 is none.
        trust: how much that picture counts at least, where it is not seen and where it is, in frames of which
            something is seen. Decided on scenes that nothing was trained on (docs/training.md).
        latents_mean: per channel, taken off after encoding and added before decoding; None is 0.
        latents_std: per channel, divided by after encoding; None is 1.

    Raises:
        ConfigError: lists whose lengths do not fit together.
    """

    @register_to_config
    def __init__(
        self,
        *,  # diffusers takes what is given by place for a default, and `from_config` then drops it
        latent_channels: int = 16,
        patch: int = 2,
        encoder_widths: Sequence[int] = (32, 64, 128),
        encoder_blocks: Sequence[int] = (2, 2, 2),
        encoder_time: Sequence[bool] = (True, True),
        decoder_widths: Sequence[int] = (128, 64, 32),
        decoder_blocks: Sequence[int] = (2, 2, 2),
        decoder_time: Sequence[bool] = (True, True),
        decoder_space: Sequence[bool] = (True, True),
        pad: Literal["start", "end"] = "start",
        guides: int = 0,
        trust: Sequence[float] = (0.0, 0.0),
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        one_per_stage("encoder", encoder_widths, encoder_blocks, encoder_time)
        one_per_stage("decoder", decoder_widths, decoder_blocks, decoder_time, decoder_space)
        one_per_channel(latent_channels, latents_mean, latents_std)
        if pad not in ("start", "end"):
            raise ConfigError(f"pad is {pad!r}; use 'start' or 'end'")
        if len(trust) != 2 or not all(0 <= share <= 1 for share in trust):
            raise ConfigError(f"trust is {trust}; use two numbers from 0 to 1")
        pixels = 3 * patch**2
        self.strides = Strides(time=2 ** sum(encoder_time), space=patch * 2 ** len(encoder_time))
        self.latent_channels = latent_channels
        self.encoder = encoder_stack(pixels, latent_channels, encoder_widths, encoder_blocks, encoder_time)
        self.decoder = decoder_stack(
            latent_channels,
            pixels,
            decoder_widths,
            decoder_blocks,
            decoder_time,
            decoder_space,
            guides * patch**2,
        )
        self.gate = nn.Conv2d(guides * patch**2, pixels, 1) if guides else None

    @classmethod
    def taew2_1(cls, width: int = 64, latent_channels: int = 16, patch: int = 1) -> "TinyAutoencoder":
        """The published layout for Wan 2.1 latents, key for key; other widths make small models of the same form."""
        return cls(
            latent_channels=latent_channels,
            patch=patch,
            encoder_widths=(width,) * 4,
            encoder_blocks=(0, 3, 3, 3),
            encoder_time=(True, True, False),
            decoder_widths=(4 * width, 2 * width, width, width),
            decoder_blocks=(3, 3, 3, 0),
            decoder_time=(False, True, True),
            decoder_space=(True, True, True),
            pad="end",
        )

    @property
    def guides(self) -> int:
        """Channels of the guides that `decode` may look at; 0 is none."""
        return self.config["guides"]

    def coming(self, given: Float[Tensor, "b c t h w"], state: TaeState | Coming | None) -> Coming:
        """The state after a call that has still to be made, for a call that may then be at work at the same time: of
        all that it takes from the one before, it waits for each layer's until that layer is done.

        Args:
            given: what will be encoded or decoded.
            state: the one before; the call must be made with it, and with this one as its `after`.
        """
        return Coming((0 if state is None else state.seen) + given.shape[2], given[:, :, -1])

    def encode(
        self,
        video: Float[Tensor, "b rgb f H W"],
        state: TaeState | Coming | None = None,
        *,
        after: Coming | None = None,
    ) -> tuple[Float[Tensor, "b c l h w"], TaeState]:
        """Latents that these frames complete, and what the next call needs.

        Args:
            video: RGB in [-1, 1].
            state: what the call before returned; None begins a stream.
            after: told, as it is made, what the next call needs; by `coming`.

        Raises:
            ShapeError: not RGB, no frame, sides that do not divide by `strides.space`, frames that end inside a latent
                frame (`pad="start"`), or a state of another size.
        """
        state = TaeState() if state is None else state
        with nullcontext() if after is None else after:
            self._check_video(video, state)
            frames = (video.transpose(1, 2) + 1) / 2  # (b, f, 3, H, W) in [0, 1], as published
            seen, last = state.seen + frames.shape[1], frames[:, -1].clone()
            if self.config["pad"] == "start" and state.seen == 0:
                frames = torch.cat([frames[:, :1].expand(-1, self.strides.time - 1, -1, -1, -1), frames], dim=1)
            latents, made = self._encode_frames(frames, state, after)
        return latents, replace(made, seen=seen, last=last)

    def flush(self, state: TaeState) -> Float[Tensor, "b c l h w"]:
        """Latents of the frames still waiting, had the last one been repeated. The stream can go on from `state`.

        Raises:
            ShapeError: nothing has been encoded with this state.
        """
        if state.last is None or state.last.shape[1] != 3:
            raise ShapeError("there is no frame to repeat; give a state that encode returned")
        missing = 0 if self.config["pad"] == "start" else -state.seen % self.strides.time
        if not missing:
            batch, _, height, width = state.last.shape
            space = self.strides.space
            return state.last.new_zeros(batch, self.latent_channels, 0, height // space, width // space)
        return self._encode_frames(state.last[:, None].expand(-1, missing, -1, -1, -1), state)[0]

    def encode_clip(self, video: Float[Tensor, "b rgb f H W"]) -> Float[Tensor, "b c l h w"]:
        """All latents of a clip that ends here: `encode`, then `flush`."""
        latents, state = self.encode(video)
        return torch.cat([latents, self.flush(state).to(latents.dtype)], dim=2)

    def decode(
        self,
        latents: Float[Tensor, "b c l h w"],
        state: TaeState | Coming | None = None,
        *,
        limit: bool = True,
        guides: Float[Tensor, "b g f H W"] | None = None,
        after: Coming | None = None,
    ) -> tuple[Float[Tensor, "b 3 f H W"], TaeState]:
        """RGB in [-1, 1] of these latents: `strides.time` frames each, but one for the first of a stream.

        Args:
            latents: normalised, as `encode` gives them.
            state: what the call before returned; None begins a stream.
            limit: cut to [-1, 1]; training wants False, because what is cut has no gradient.
            guides: pictures of the frames that come out, for a decoder that looks at some.
            after: told, as it is made, what the next call needs; by `coming`.

        Raises:
            ShapeError: other channels, no latent frame, guides that do not fit, or a state of another size.
        """
        state = TaeState() if state is None else state
        with nullcontext() if after is None else after:
            self._check_latents(latents, state)
            early = 2 ** sum(self.config["decoder_time"]) - 1 if state.seen == 0 else 0  # frames that were never seen
            shown = self._guides(latents, guides, early)
            raw, made = self.decoder(self._denormalised(latents).transpose(1, 2), state, shown, after)
        if self.gate is not None:
            raw, gate = raw.chunk(2, dim=2)
            if shown is not None:
                ready = shown.unflatten(2, (-1, self.config["patch"] ** 2))[:, :, :3].flatten(2, 3)
                gate = (gate + over_frames(self.gate, shown)).sigmoid()
                colours = gate.unflatten(2, (3, -1))
                gate = (1 - (1 - colours) * (1 - self._trusted(shown))).flatten(2, 3)
                raw = torch.lerp(raw, ((ready + 1) / 2).to(raw.dtype), gate.to(raw.dtype))
        frames = over_frames(nn.PixelShuffle(self.config["patch"]), raw[:, early:]).transpose(1, 2) * 2 - 1
        frames = frames.clamp(-1, 1) if limit else frames
        return frames, replace(made, seen=state.seen + latents.shape[2], last=latents[:, :, -1].clone())

    def _trusted(self, shown: Float[Tensor, "b f g h w"]) -> Float[Tensor, "b f 1 p h w"]:
        """How much the picture of the guides counts at least, softly from what is seen of it to what is not."""
        patch, (unseen, seen) = self.config["patch"], self.config["trust"]
        flags = shown.unflatten(2, (-1, patch**2))[:, :, 3].flatten(0, 1)
        whole = F.avg_pool2d(F.pixel_shuffle(flags, patch), SOFT, 1, SOFT // 2, count_include_pad=False)
        there = (flags.amax((1, 2, 3), keepdim=True) > 0).to(whole)
        share = unshuffled(there * (unseen + (seen - unseen) * whole), patch)
        return share.unflatten(0, shown.shape[:2])[:, :, None]

    def _guides(self, latents: Tensor, guides: Tensor | None, early: int) -> Float[Tensor, "b f g h w"] | None:
        """As the finest stage takes them, the first one repeated for frames that were never seen."""
        if guides is None:
            return None
        rate, space = 2 ** sum(self.config["decoder_time"]), self.strides.space
        frames = rate * latents.shape[2] - early
        wanted = (self.config["guides"], frames, *(space * side for side in latents.shape[3:]))
        if not self.config["guides"] or guides.shape[1:] != wanted:
            raise ShapeError(f"guides of {tuple(guides.shape[1:])}; this decoder takes {wanted} for these latents")
        pictures = guides.to(latents.dtype).transpose(1, 2)
        pictures = torch.cat([pictures[:, :1].expand(-1, early, -1, -1, -1), pictures], dim=1) if early else pictures
        return over_frames(partial(unshuffled, patch=self.config["patch"]), pictures)

    def restore(self, named: Mapping[str, Tensor]) -> TaeState:
        """The state whose `tensors` these are.

        Raises:
            InputError: the dictionary holds other names.
        """
        return TaeState.from_tensors(named)

    def forward(
        self, video: Float[Tensor, "b 3 f H W"]
    ) -> tuple[Float[Tensor, "b 3 g H W"], Float[Tensor, "b c l h w"]]:
        """There and back, unlimited, as training wants it: the reconstruction and the latents between."""
        latents = self.encode_clip(video)
        return self.decode(latents, limit=False)[0], latents

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Measured on latents so far, per channel: from now on `encode` gives mean 0 and deviation 1. In the config.

        Raises:
            ConfigError: not one positive deviation and one mean for each channel.
        """
        one_per_channel(self.latent_channels, mean, std)
        measured = {"latents_mean": [float(value) for value in mean], "latents_std": [float(value) for value in std]}
        # what diffusers has noted as a default would be forgotten by `from_config`
        defaults = [name for name in self.config.get("_use_default_values", ()) if name not in measured]
        self.register_to_config(**measured, _use_default_values=defaults)

    def preview(self, decoder_time: Sequence[bool], decoder_space: Sequence[bool]) -> "TinyAutoencoder":
        """A copy whose decoder leaves out some growth in time or space: smaller, cheaper, fewer frames.

        Of a growth left out, the later frame's channels stay. A preview is no sub-sampling of the full video, for its
        blocks remember at another rate.

        Raises:
            ConfigError: another number of flags than steps, or a growth that this model does not have.
        """
        if any(wanted and not had for wanted, had in zip(decoder_time, self.config["decoder_time"], strict=False)):
            raise ConfigError(f"growth in time {tuple(decoder_time)} is more than {tuple(self.config['decoder_time'])}")
        options = {
            name: value for name, value in self.config.items() if not name.startswith("_")
        }  # the rest is diffusers'
        options |= {"decoder_time": tuple(decoder_time), "decoder_space": tuple(decoder_space)}
        copy = TinyAutoencoder(**options)
        held = copy.state_dict()
        copy.load_state_dict({name: full[-held[name].shape[0] :] for name, full in self.state_dict().items()})
        nn.Module.to(copy, device=self.device, dtype=self.dtype)  # ModelMixin.to warns of precision, whatever one asks
        return copy.train(self.training)

    def _encode_frames(
        self, frames: Float[Tensor, "b f 3 H W"], state: TaeState | Coming, after: Coming | None = None
    ) -> tuple[Float[Tensor, "b c l h w"], TaeState]:
        pixels = over_frames(partial(unshuffled, patch=self.config["patch"]), frames)
        latents, made = self.encoder(pixels, state, None, after)
        return self._normalised(latents.transpose(1, 2)), made

    def _normalised(self, latents: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b c l h w"]:
        mean, std = self.config["latents_mean"], self.config["latents_std"]
        latents = latents if mean is None else latents - per_channel(mean, latents)
        return latents if std is None else latents / per_channel(std, latents)

    def _denormalised(self, latents: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b c l h w"]:
        mean, std = self.config["latents_mean"], self.config["latents_std"]
        latents = latents if std is None else latents * per_channel(std, latents)
        return latents if mean is None else latents + per_channel(mean, latents)

    def _check_video(self, video: Tensor, state: TaeState | Coming) -> None:
        batch, colours, frames, height, width = video.shape
        time, space = self.strides.time, self.strides.space
        if colours != 3:
            raise ShapeError(f"the video has {colours} channels; give RGB as (b, 3, f, h, w)")
        if not batch or not frames or not height or not width:
            raise ShapeError(f"the video is empty, {tuple(video.shape)}; give at least one frame")
        if height % space or width % space:
            raise ShapeError(f"{height}×{width} pixels do not divide by {space}; crop or resize first")
        check_stream(state, video)
        extra = (frames - 1 if state.seen == 0 else frames) % time
        if self.config["pad"] == "start" and extra:
            form = f"{time}k + 1 to begin" if state.seen == 0 else f"{time}k to go on"
            raise ShapeError(f"{frames} frames end inside a latent frame; give {form}")

    def _check_latents(self, latents: Tensor, state: TaeState | Coming) -> None:
        if latents.shape[1] != self.latent_channels:
            raise ShapeError(f"the latents have {latents.shape[1]} channels, this autoencoder {self.latent_channels}")
        if not latents.numel():
            raise ShapeError(f"the latents are empty, {tuple(latents.shape)}; give at least one latent frame")
        check_stream(state, latents)


def check_stream(state: TaeState | Coming, coming: Float[Tensor, "b c t h w"]) -> None:
    """Refuses to go on with a state of another batch, size or direction."""
    if state.last is not None and state.last.shape != coming[:, :, -1].shape:
        sizes = f"{tuple(state.last.shape)}, not of {tuple(coming[:, :, -1].shape)}"
        raise ShapeError(f"the state belongs to a stream of {sizes}; begin a new one with state=None")


def one_per_stage(part: str, widths: Sequence[int], blocks: Sequence[int], *steps: Sequence[bool]) -> None:
    """Refuses lists that describe different numbers of stages."""
    stages = len(widths)
    if not stages or len(blocks) != stages or any(len(flags) != stages - 1 for flags in steps):
        given = ", ".join(str(len(values)) for values in (widths, blocks, *steps))
        raise ConfigError(f"the {part}'s lists have {given} entries; n widths need n blocks and n - 1 steps")


def one_per_channel(channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Refuses a normalisation that does not fit the channels."""
    if any(values is not None and len(values) != channels for values in (mean, std)):
        raise ConfigError(f"latents_mean and latents_std need one value for each of the {channels} channels")
    if std is not None and min(std) <= 0:
        raise ConfigError("a latent channel has no deviation; latents_std must be positive")


def per_channel(values: Sequence[float], like: Float[Tensor, "b c l h w"]) -> Float[Tensor, "1 c 1 1 1"]:
    """One number for each latent channel, on the device and in the precision of `like`."""
    return like.new_tensor(values).view(1, -1, 1, 1, 1)
