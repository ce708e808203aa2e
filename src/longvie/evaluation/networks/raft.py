"""RAFT: optical flow by looking up, again and again, how alike all pairs of places are.

Source: Teed and Deng 2020 (arXiv 2003.12039), the large network; parts are named as in `raft-things.pth`. Eighths of a
picture's side are called cells. `b` pairs of pictures, `y x` cells.
"""

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvie.errors import ShapeError
from longvie.evaluation.networks.files import fit, under

CELL = 8  # pixels a side
SMALLEST = 16 * CELL  # pixels a side: the coarsest likeness would be a single number, which has no places
LEVELS, RADIUS = 4, 4  # of the likeness: halvings, and cells around a place
HIDDEN, CONTEXT, FEATURES, MOTION = 128, 128, 256, 128  # channels
SEEN = LEVELS * (2 * RADIUS + 1) ** 2  # numbers that are looked up for a place
ROUNDS = 20  # as VBench runs it
SOFTER = 0.25  # of what chooses between neighbours when flow is made finer

Cells = Float[Tensor, "b 2 y x"]


class Residual(nn.Module):
    """Two convolutions beside a short cut. `norm` makes one norm of so many channels."""

    def __init__(self, before: int, after: int, stride: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.norm1, self.norm2 = norm(after), norm(after)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1:
            self.norm3 = norm(after)
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride), self.norm3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k y x"]:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = functional.relu(self.norm2(self.conv2(y)))
        return functional.relu(self.downsample(x) + y)


class Encoder(nn.Module):
    """A picture to cells."""

    def __init__(self, out: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 64, 7, 2, padding=3), norm(64)
        stages = [
            nn.Sequential(Residual(before, after, stride, norm), Residual(after, after, 1, norm))
            for (before, after), stride in zip(pairwise((64, 64, 96, 128)), (1, 2, 2), strict=True)
        ]
        self.layer1, self.layer2, self.layer3 = stages
        self.conv2 = nn.Conv2d(128, out, 1)

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c y x"]:
        x = functional.relu(self.norm1(self.conv1(pictures)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


class Motion(nn.Module):
    """What was looked up and the flow so far, as one."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1, self.convc2 = nn.Conv2d(SEEN, 256, 1), nn.Conv2d(256, 192, 3, padding=1)
        self.convf1, self.convf2 = nn.Conv2d(2, 128, 7, padding=3), nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(192 + 64, MOTION - 2, 3, padding=1)

    def forward(self, flow: Cells, seen: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c y x"]:
        likeness = functional.relu(self.convc2(functional.relu(self.convc1(seen))))
        moved = functional.relu(self.convf2(functional.relu(self.convf1(flow))))
        return torch.cat([functional.relu(self.conv(torch.cat([likeness, moved], dim=1))), flow], dim=1)


class Gates(nn.Module):
    """A gated recurrent unit that looks along rows, then one that looks along columns."""

    def __init__(self) -> None:
        super().__init__()
        for number, kernel in enumerate(((1, 5), (5, 1)), start=1):
            for gate in "zrq":
                conv = nn.Conv2d(HIDDEN + CONTEXT + MOTION, HIDDEN, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
                self.add_module(f"conv{gate}{number}", conv)

    def forward(self, state: Float[Tensor, "b c y x"], given: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c y x"]:
        for number in (1, 2):
            update, reset, new = (self.get_submodule(f"conv{gate}{number}") for gate in "zrq")
            both = torch.cat([state, given], dim=1)
            share, kept = torch.sigmoid(update(both)), torch.sigmoid(reset(both))
            state = (1 - share) * state + share * torch.tanh(new(torch.cat([kept * state, given], dim=1)))
        return state


class Head(nn.Module):
    """What to add to the flow, in cells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, state: Float[Tensor, "b c y x"]) -> Cells:
        return self.conv2(functional.relu(self.conv1(state)))


class Update(nn.Module):
    """One round; and, of the last, how to make its flow finer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.gru, self.flow_head = Motion(), Gates(), Head()
        wide, choice = nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.Conv2d(256, 9 * CELL**2, 1)
        self.mask = nn.Sequential(wide, nn.ReLU(), choice)

    def forward(
        self, state: Float[Tensor, "b c y x"], context: Float[Tensor, "b k y x"], seen: Tensor, flow: Cells
    ) -> tuple[Float[Tensor, "b c y x"], Cells]:
        """The next state, and what to add to the flow."""
        state = self.gru(state, torch.cat([context, self.encoder(flow, seen)], dim=1))
        return state, self.flow_head(state)


class Likeness:
    """How alike every cell of the first picture and every one of the second are, at four sizes of the second's."""

    def __init__(self, first: Float[Tensor, "b c y x"], second: Float[Tensor, "b c y x"]) -> None:
        pairs = torch.einsum("bcij,bckl->bijkl", first, second) / math.sqrt(first.shape[1])
        level = pairs.flatten(0, 2)[:, None]  # (b y x, 1, y, x)
        self.levels = [level]
        for _ in range(LEVELS - 1):
            level = functional.avg_pool2d(level, 2)
            self.levels.append(level)
        steps = torch.arange(-RADIUS, RADIUS + 1, device=first.device, dtype=first.dtype)
        across, down = torch.meshgrid(steps, steps, indexing="ij")  # across changes slowest, as the weights want it
        self.around = torch.stack([across, down], dim=-1)  # (9, 9, 2) x, y

    def at(self, places: Cells) -> Float[Tensor, "b k y x"]:
        """Around places in the second picture, x and y in cells; what lies outside is zero."""
        batch, _, rows, columns = places.shape
        centres = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
        found = [
            sampled(level, centres / 2**number + self.around).view(batch, rows, columns, -1)
            for number, level in enumerate(self.levels)
        ]
        return torch.cat(found, dim=-1).permute(0, 3, 1, 2)


class Raft(nn.Module):
    """Flow from one picture to another."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet, self.cnet = Encoder(FEATURES, nn.InstanceNorm2d), Encoder(HIDDEN + CONTEXT, nn.BatchNorm2d)
        self.update_block = Update()

    def forward(
        self, before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], rounds: int = ROUNDS
    ) -> Float[Tensor, "b 2 H W"]:
        """RGB from 0 to 255 → x and y in pixels of the pictures, which are filled up to whole cells: so is the flow.

        The border is repeated on both sides alike. The strongest flow, as VBench reads it, is that of the filled
        picture.

        Raises:
            ShapeError: pictures of less than 128 pixels a side.
        """
        if min(before.shape[-2:]) < SMALLEST:
            raise ShapeError(f"RAFT needs pictures of at least {SMALLEST} pixels a side, not {before.shape[-2:]}")
        first, second = (filled(2 * side / 255 - 1) for side in (before, after))
        likeness = Likeness(*(self.fnet(side) for side in (first, second)))
        state, context = self.cnet(first).split([HIDDEN, CONTEXT], dim=1)
        state, context = torch.tanh(state), functional.relu(context)
        start = grid(first)
        flow = torch.zeros_like(start)
        for _ in range(rounds):
            state, more = self.update_block(state, context, likeness.at(start + flow), flow)
            flow = flow + more
        return finer(flow, SOFTER * self.update_block.mask(state))


def filled(pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 H W"]:
    """To whole cells: the border repeated, one pixel more at the right and below where they are odd."""
    missing = [-length % CELL for length in pictures.shape[-2:]]
    sides = [share for length in reversed(missing) for share in (length // 2, length - length // 2)]
    return functional.pad(pictures, sides, mode="replicate")


def grid(pictures: Float[Tensor, "b 3 h w"]) -> Cells:
    """The place of every cell, x and y."""
    rows, columns = (torch.arange(length // CELL, device=pictures.device) for length in pictures.shape[-2:])
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y])[None].expand(len(pictures), -1, -1, -1).to(pictures.dtype)


def sampled(fields: Float[Tensor, "n 1 y x"], places: Float[Tensor, "n r s 2"]) -> Float[Tensor, "n 1 r s"]:
    """Between places by a line; outside is zero. Places are x and y, from the middle of the first."""
    size = fields.new_tensor([fields.shape[3] - 1, fields.shape[2] - 1])
    return functional.grid_sample(fields, 2 * places / size - 1, align_corners=True)


def finer(flow: Cells, choice: Float[Tensor, "b k y x"]) -> Float[Tensor, "b 2 H W"]:
    """Flow in pixels at pixels: each is a mean of the nine cells around its own, as `choice` weighs them."""
    batch, _, rows, columns = flow.shape
    weights = choice.view(batch, 1, 9, CELL, CELL, rows, columns).softmax(dim=2)
    around = functional.unfold(CELL * flow, 3, padding=1).view(batch, 2, 9, 1, 1, rows, columns)
    fine = (weights * around).sum(dim=2)  # (b, 2, within y, within x, y, x)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, CELL * rows, CELL * columns)


def raft(named: Mapping[str, Tensor]) -> Raft:
    """Of a published checkpoint, whose names begin with `module.`.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    with torch.device("meta"):
        network = Raft()
    return fit(network, under(named, "module."))
