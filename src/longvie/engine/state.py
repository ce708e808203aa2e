"""What is kept of a video between two clips or blocks, in memory and as a file."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from longvie.controls.familiar import Familiar
from longvie.controls.sights import Sight
from longvie.engine.light import Turn
from longvie.errors import InputError
from longvie.media import replace_atomically
from longvie.models.autoencoder import Autoencoder, AutoencoderState

FORMAT = 6  # of a saved state
SIGHT = ("picture", "disparity", "back")  # tensors of one


@dataclass(frozen=True)
class ClipState:
    """All that is needed to make clip number `clip` of a video as if the clips before had just been made.

    Attributes:
        made: frames so far, those past the end of a script included.
        anchor, recent: the first latent frame of the video, and the last ones (latent seam).
        decoder: of the video (latent seam).
        controls: what the encoder remembers of each control that is on, by its name (latent seam).
        tail: the last frames (pixel seam; one of them in the latent seam, if the model carries pictures).
        last: the last frame as it was shown, of models that carry pictures (latent seam).
        turns: changes of words that are on their way to be seen (latent seam).
        sights: pictures of places that were seen before, from the picture that moves (latent seam).
        familiar: things that were met before, at the picture that moves (latent seam).
    """

    seed: int
    clip: int = 0
    made: int = 0
    anchor: Float[Tensor, "1 c 1 h w"] | None = None
    recent: Float[Tensor, "1 c l h w"] | None = None
    decoder: AutoencoderState | None = None
    controls: Mapping[str, AutoencoderState] = field(default_factory=dict)
    tail: Float[Tensor, "3 f H W"] | None = None
    last: Float[Tensor, "3 1 H W"] | None = None
    turns: tuple[Turn, ...] = ()
    sights: tuple[Sight, ...] = ()
    familiar: Familiar | None = None

    def forked(self, seed: int) -> "ClipState":
        """The same past for a video that goes on under another seed."""
        return replace(self, seed=seed)

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds of it."""
        named = {name: getattr(self, name) for name in ("anchor", "recent", "tail", "last")}
        tensors = {name: tensor for name, tensor in named.items() if tensor is not None}
        for at, turn in enumerate(self.turns):
            tensors |= {f"turn.{at}.before": turn.before, f"turn.{at}.now": turn.now}
        for at, sight in enumerate(self.sights):
            tensors |= {f"sight.{at}.{name}": getattr(sight, name) for name in SIGHT}
        if self.familiar is not None:
            tensors |= {f"familiar/{name}": tensor for name, tensor in self.familiar.tensors().items()}
        states = {"decoder": self.decoder} | {f"control.{at}": state for at, state in enumerate(self.controls.values())}
        for prefix, state in states.items():
            if state is not None:
                tensors |= {f"{prefix}/{name}": tensor for name, tensor in state.tensors().items()}
        return tensors

    def facts(self) -> dict[str, Any]:
        """What a file's header says of it."""
        return {
            "format": FORMAT,
            "seed": self.seed,
            "clip": self.clip,
            "made": self.made,
            "controls": list(self.controls),
            "turns": [[turn.start, turn.frames] for turn in self.turns],
            "sights": [sight.light for sight in self.sights],
        }

    def save(self, path: Path) -> None:
        """Write it to a safetensors file, whole or not at all.

        Raises:
            ResourceError: no room, or the folder cannot be written.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}
        with replace_atomically(path, needed=sum(tensor.nbytes for tensor in tensors.values())) as part:
            save_file(tensors, part, metadata={"longvie": json.dumps(self.facts())})

    @classmethod
    def load(cls, path: Path, autoencoder: Autoencoder[Any]) -> "ClipState":
        """The state that `save` wrote, on the autoencoder's device.

        Raises:
            InputError: not a state, or one of a newer version.
        """
        with opened(path, autoencoder.device) as (facts, tensors):
            return cls(**cls.fields_of(facts, tensors, autoencoder))

    @staticmethod
    def fields_of(
        facts: Mapping[str, Any], tensors: Mapping[str, Tensor], autoencoder: Autoencoder[Any]
    ) -> dict[str, Any]:
        """The fields of a state out of a file."""
        states = {str(name): part_of(tensors, f"control.{at}/") for at, name in enumerate(facts["controls"])}
        decoder = part_of(tensors, "decoder/")
        return {
            "seed": int(facts["seed"]),
            "clip": int(facts["clip"]),
            "made": int(facts["made"]),
            "decoder": autoencoder.restore(decoder) if decoder else None,
            "controls": {name: autoencoder.restore(state) for name, state in states.items()},
            "turns": tuple(
                Turn(tensors[f"turn.{at}.before"], tensors[f"turn.{at}.now"], int(start), int(frames))
                for at, (start, frames) in enumerate(facts.get("turns", ()))
            ),
            "sights": tuple(
                Sight(**{name: tensors[f"sight.{at}.{name}"].cpu() for name in SIGHT}, light=int(light))
                for at, light in enumerate(facts["sights"])
            ),
            "familiar": Familiar.restored(part_of(tensors, "familiar/")),
            **{name: tensors.get(name) for name in ("anchor", "recent", "tail", "last")},
        }


@contextmanager
def opened(path: Path, device: torch.device) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Header and tensors of a saved state, while its fields are read.

    Raises:
        InputError: not a state, or one of another version.
    """
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            facts = json.loads((file.metadata() or {})["longvie"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if facts["format"] != FORMAT:
            raise InputError(f"{path.name} was written by another version ({facts['format']}): use that one")
        yield facts, tensors
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as reason:
        raise InputError(f"{path.name} is not the state of a video: {reason}", code="state_invalid") from reason


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
