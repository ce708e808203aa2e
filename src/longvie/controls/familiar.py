"""Things that were met before: which number each has, how large it is, and what it looks like from where it was seen.

It passes from one moved picture to the next, so a thing that was hidden meanwhile is known again when it comes back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvie.controls.faces import Face
from longvie.controls.paths import Paths
from longvie.controls.portraits import PORTRAIT, Portrait, forgotten, met
from longvie.controls.things import Things


@dataclass(frozen=True)
class Familiar:
    """Up to one frame of a video."""

    things: Things
    faces: Mapping[int, Face]
    portraits: tuple[Portrait, ...] = ()

    @classmethod
    def beginning(
        cls,
        known: "Familiar | None",
        picture: Float[Tensor, "3 h w"],
        paths: Paths,
        disparity: Float[Tensor, "h w"] | None,
        words: Float[Tensor, "1 n d"] | None,
    ) -> "Familiar | None":
        """What is known where a picture begins to move: with its things, if they are seen well and it is known under
        which words.
        """
        if paths.first is None or disparity is None or words is None:
            return known
        known = cls(Things(), {}) if known is None else known  # as the paths began
        numbers, new = paths.first.numbers[0], paths.first.new[0].nonzero()[:, 0].tolist()
        return replace(known, portraits=met(forgotten(known.portraits, new), picture, disparity, numbers, words))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a file."""
        found = {f"things.{name}": tensor for name, tensor in self.things.tensors().items()}
        if self.faces:
            told = [(number, *(face.size or (0.0, 0.0)), face.seen, face.level) for number, face in self.faces.items()]
            found["faces"] = torch.from_numpy(np.stack([face.cells for face in self.faces.values()]))
            found["told"] = torch.tensor(told, dtype=torch.float64)
        for at, portrait in enumerate(self.portraits):
            found |= {f"portrait.{at}.{name}": tensor for name, tensor in portrait.tensors().items()}
        return found

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> "Familiar | None":
        """From `tensors`; None if there are none."""
        if not tensors:
            return None
        things = Things.restored(
            {name.removeprefix("things."): tensor for name, tensor in tensors.items() if name.startswith("things.")}
        )
        faces = dict[int, Face]()
        if "faces" in tensors:
            rows = zip(tensors["told"].tolist(), tensors["faces"].cpu().numpy(), strict=True)
            for (number, tall, wide, seen, level), cells in rows:
                faces[int(number)] = Face(cells.copy(), (tall, wide) if tall else None, seen, level)
        kept = {name.rsplit(".", 1)[0] for name in tensors if name.startswith("portrait.")}
        portraits = tuple(
            Portrait.restored({key: tensors[f"portrait.{at}.{key}"] for key in PORTRAIT}) for at in range(len(kept))
        )
        return cls(things, faces, portraits)
