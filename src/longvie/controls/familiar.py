"""Things that were met before: which number each has, how large it is, and what it looks like from where it was seen.

It passes from one moved picture to the next, so a thing that was hidden meanwhile is known again when it comes back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from longvie.controls.faces import Face
from longvie.controls.things import Things


@dataclass(frozen=True)
class Familiar:
    """Up to one frame of a video."""

    things: Things
    faces: Mapping[int, Face]

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a file."""
        found = {f"things.{name}": tensor for name, tensor in self.things.tensors().items()}
        if self.faces:
            told = [(number, *(face.size or (0.0, 0.0)), face.seen, face.level) for number, face in self.faces.items()]
            found["faces"] = torch.from_numpy(np.stack([face.cells for face in self.faces.values()]))
            found["told"] = torch.tensor(told, dtype=torch.float64)
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
        return cls(things, faces)
