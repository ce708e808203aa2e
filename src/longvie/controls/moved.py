"""A picture moved over some frames: what of it is really shown, and what becomes the next one that moves."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

LEAST = 64  # pixels by which a change of light can be told
EVEN, OFF = 0.01, 0.1  # pulls a gain towards 1; a difference in colour that is no matter of light
LIGHT = 0.08  # mean change of a colour, of the range of 2, below which it is no change of light


@dataclass(frozen=True)
class Moved:
    """A picture over some frames, and which of its pixels it really shows; the others are filled in.

    Attributes:
        pictures: three colours, and three more for each light in which it was moved beside the first.
        things: pixels of what stands on the floor, where depth tells; filled in, they have the colours of a thing.
    """

    pictures: Float[Tensor, "c f h w"]
    seen: Bool[Tensor, "1 f h w"]
    things: Bool[Tensor, "1 f h w"] | None = None

    @property
    def kept(self) -> Bool[Tensor, "1 f h w"]:
        """Pixels whose colours are better known than anything that is made of them."""
        return self.seen if self.things is None else self.seen | self.things

    @classmethod
    def resting(cls, picture: Float[Tensor, "c h w"], frames: int) -> "Moved":
        """It stays as it is; nothing tells what of it is still to be seen after the first frame."""
        seen = torch.zeros(1, frames, *picture.shape[1:], dtype=torch.bool, device=picture.device)
        seen[:, :1] = True
        return cls(picture[:, None].expand(-1, frames, -1, -1), seen)

    def part(self, frames: slice) -> "Moved":
        """Some of its frames."""
        things = None if self.things is None else self.things[:, frames]
        return Moved(self.pictures[:, frames], self.seen[:, frames], things)

    def unseen(self) -> "Moved":
        """The same, with nothing said to be seen, or to be a thing."""
        return Moved(self.pictures, torch.zeros_like(self.seen))

    @classmethod
    def joined(cls, parts: "list[Moved]") -> "Moved":
        """One after the other."""
        things = None
        if any(it.things is not None for it in parts):
            none = [torch.zeros_like(it.seen) if it.things is None else it.things for it in parts]
            things = torch.cat(none, dim=1)
        seen = torch.cat([it.seen for it in parts], dim=1)
        return cls(torch.cat([it.pictures for it in parts], dim=1), seen, things)

    def shares(self, time: int, space: int) -> Float[Tensor, "time l h w"]:
        """How much of each latent cell is seen in each of its `time` frames; the first frame stands for them all.

        Args:
            time, space: frames of a latent frame, of which there must be time·k + 1, and pixels on a cell's side.
        """
        frames = torch.cat((self.seen[:, :1].expand(-1, time - 1, -1, -1), self.seen), dim=1).transpose(0, 1).float()
        return functional.avg_pool2d(frames, space)[:, 0].unflatten(0, (-1, time)).transpose(0, 1)

    def longer(self, frames: int) -> "Moved":
        """As many frames; the last picture is held, of which nothing is then known to be seen."""
        held = Moved.resting(self.pictures[:, -1], frames - self.pictures.shape[1])
        return Moved.joined([self, held.unseen()])


def remembered(
    made: Float[Tensor, "3 h w"], shown: Float[Tensor, "3 h w"], kept: Bool[Tensor, "1 h w"]
) -> Float[Tensor, "3 h w"]:
    """The picture that moves from here on: what was known stays as it is known, what was made of the rest is known now.

    A picture that is made blurs and mixes colours a little; taken as the next one to move, time and again, it would
    wash out. Only light that has changed is taken over: one gain and offset for each colour.

    Args:
        made, shown: the last frame as it was made, and the moved picture there, in [-1, 1].
        kept: where the moved picture is better known (`Moved.kept`).
    """
    where = kept[0]
    if int(where.sum()) < LEAST:
        return made
    gain, offset = relit(shown[:, where], made[:, where])[..., None, None].unbind(1)
    return torch.where(kept, (gain * shown + offset).clamp(-1, 1), made)


def relit(was: Float[Tensor, "3 m"], now: Float[Tensor, "3 m"]) -> Float[Tensor, "3 2"]:
    """Gain and offset of each colour from one light to another, by the same places in both; colours that differ for
    another reason hardly count. No change is 1 and 0: so is one that nobody would call a change of light, or one that
    too few places tell.
    """
    plain = torch.tensor([1.0, 0.0]).expand(3, 2).to(was)
    if was.shape[1] < LEAST:
        return plain
    a, b = was.double(), now.double()
    weight = torch.ones_like(a)
    for _ in range(3):
        total = weight.sum(1, keepdim=True)
        mean, goal = (a * weight).sum(1, keepdim=True) / total, (b * weight).sum(1, keepdim=True) / total
        spread = ((a - mean).square() * weight).sum(1, keepdim=True) / total
        shared = ((a - mean) * (b - goal) * weight).sum(1, keepdim=True) / total
        gain = ((shared + EVEN) / (spread + EVEN)).clamp(0.3, 2.0)
        offset = goal - gain * mean
        weight = 1 / (1 + ((gain * a + offset - b) / OFF).square())
    change = ((gain - 1) * a + offset).abs().mean(1, keepdim=True)
    return torch.where(change > LIGHT, torch.cat([gain, offset], dim=1), plain.double()).to(was)
