"""All memories of a live video, the trunk's and each control's, and what they were made from, so that under other words
they can be made anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from longvie.engine.memory import Memory, Window
from longvie.engine.state import part_of
from longvie.models.control_branch import ControlInput
from longvie.models.transformer import VideoTransformer


@dataclass(frozen=True)
class KeptBlock:
    """What the network was told of a block that is still remembered: all that makes its keys and values anew."""

    number: int
    latents: Float[Tensor, "1 c l h w"]
    controls: tuple[ControlInput, ...] = ()
    beats: Float[Tensor, "1 l 4"] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """For a file."""
        named = {"latents": self.latents} | ({} if self.beats is None else {"beats": self.beats})
        for at, control in enumerate(self.controls):
            named |= {f"{at}.latents": control.latents, f"{at}.strength": control.strength}
        return named

    def facts(self) -> dict[str, Any]:
        """For its header."""
        return {"number": self.number, "controls": [[c.branch, c.kind, c.name] for c in self.controls]}

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "KeptBlock":
        """As it was written."""
        controls = tuple(
            ControlInput(branch, tensors[f"{at}.latents"], tensors[f"{at}.strength"], kind, name=name)
            for at, (branch, kind, name) in enumerate(facts["controls"])
        )
        return cls(int(facts["number"]), tensors["latents"], controls, tensors.get("beats"))


class Pasts:
    """The memories of the trunk and of each control's branch, and what they were made from."""

    def __init__(self, window: Window, block: int, *, relative: bool) -> None:
        self.window, self.block, self.relative = window, block, relative
        self.kept: list[KeptBlock] = []
        self.memories: dict[str, Memory] = {}  # "" is the trunk's, else by the control's name
        self._written: dict[str, dict[str, Tensor]] = {}  # of a file, until the network is known
        self._begun: list[Memory] = []

    def begin(
        self, network: VideoTransformer, cells: tuple[int, int], frames: Sequence[int], controls: Sequence[ControlInput]
    ) -> dict[str, Any]:
        """Room for a block; the arguments by which the network finds it.

        Args:
            cells: height and width of the latents.
            frames: numbers of its latent frames in the video.
        """
        patch = network.config["patch"]
        grid = cells[0] // patch[1], cells[1] // patch[2]
        trunk = self._memory("", network, grid)
        positions = trunk.begin(frames)
        branches = [self._memory(control.name, network, grid) for control in controls]
        for branch in branches:
            branch.begin(frames, end=int(positions[-1]) + 1)
        self._begun = [trunk, *branches]
        place = network.patch_embedding.weight.device
        return {"past": trunk, "branch_pasts": branches or None, "positions": positions.to(place)}

    def _memory(self, name: str, network: VideoTransformer, grid: tuple[int, int]) -> Memory:
        if name not in self.memories:
            turn = network.turn(*grid, branch=bool(name))
            self.memories[name] = Memory(self.window, self.block, turn, relative=self.relative)
            if name in self._written:
                self.memories[name].restore(self._written.pop(name))
        return self.memories[name]

    def end(
        self,
        number: int,
        latents: Float[Tensor, "1 c l h w"],
        controls: Sequence[ControlInput],
        beats: Float[Tensor, "1 l 4"] | None,
    ) -> None:
        """A block is made and remembered; so is what made it, for as long as any of its frames is."""
        for memory in self._begun:
            memory.end()
        self.kept.append(KeptBlock(number, latents, tuple(controls), beats))
        still = self.window.kept(self.block * number + latents.shape[2])
        self.kept = [block for block in self.kept if self.block * block.number in still]
        names = {"", *(control.name for block in self.kept for control in block.controls)}
        self.memories = {name: memory for name, memory in self.memories.items() if name in names}

    def forget(self) -> None:
        """Nothing but the sink is remembered."""
        for memory in self.memories.values():
            memory.forget(sink=True)
        self.kept = [block for block in self.kept if self.block * block.number < self.window.sink]

    def forget_all(self) -> None:
        """Nothing is remembered."""
        self.memories, self.kept, self._written = {}, [], {}

    def copy(self) -> "Pasts":
        """The same, which goes its own way from here on."""
        other = Pasts(self.window, self.block, relative=self.relative)
        other.kept = list(self.kept)
        other.memories = {name: memory.copy() for name, memory in self.memories.items()}
        other._written = dict(self._written)
        return other

    def tensors(self) -> dict[str, Tensor]:
        """For a file."""
        named: dict[str, Tensor] = {}
        for at, name in enumerate(self.names()):
            written = self.memories[name].tensors() if name in self.memories else self._written[name]
            named |= {f"past.{at}/{key}": tensor for key, tensor in written.items()}
        for at, block in enumerate(self.kept):
            named |= {f"kept.{at}/{key}": tensor for key, tensor in block.tensors().items()}
        return named

    def names(self) -> list[str]:
        """Whose memories there are."""
        return list(dict.fromkeys((*self.memories, *self._written)))

    def facts(self) -> dict[str, Any]:
        """For its header."""
        return {"pasts": self.names(), "kept": [block.facts() for block in self.kept]}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take in what was written."""
        self._written = {name: part_of(tensors, f"past.{at}/") for at, name in enumerate(facts["pasts"])}
        self.kept = [KeptBlock.of(block, part_of(tensors, f"kept.{at}/")) for at, block in enumerate(facts["kept"])]
