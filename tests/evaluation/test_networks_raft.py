"""RAFT: the published layout, and the same flow as a plain reading of its description."""

import math
from pathlib import Path

import pytest
import torch
from networks_made import parameters, random, shapes
from torch import Tensor
from torch.nn import functional

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.raft import Likeness, Raft, filled, finer, raft, sampled
from longvie.evaluation.networks.shelf import Shelf

NORM = {"weight": (), "bias": (), "running_mean": (), "running_var": ()}
UPDATE = {
    "encoder.convc1": (256, 324, 1, 1), "encoder.convc2": (192, 256, 3, 3), "encoder.convf1": (128, 2, 7, 7),
    "encoder.convf2": (64, 128, 3, 3), "encoder.conv": (126, 256, 3, 3),
    "gru.convz1": (128, 384, 1, 5), "gru.convr1": (128, 384, 1, 5), "gru.convq1": (128, 384, 1, 5),
    "gru.convz2": (128, 384, 5, 1), "gru.convr2": (128, 384, 5, 1), "gru.convq2": (128, 384, 5, 1),
    "flow_head.conv1": (256, 128, 3, 3), "flow_head.conv2": (2, 256, 3, 3),
    "mask.0": (256, 128, 3, 3), "mask.2": (576, 256, 1, 1),
}  # fmt: skip


def conv(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": (shape[0],)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in NORM} | {f"{name}.num_batches_tracked": ()}


def encoder(name: str, out: int, *, batch: bool) -> dict[str, tuple[int, ...]]:
    """Norms over batches are learnt; those over one picture have no tensors."""
    found = conv(f"{name}.conv1", (64, 3, 7, 7)) | conv(f"{name}.conv2", (out, 128, 1, 1))
    norms = {f"{name}.norm1": 64}
    before = 64
    for layer, width in enumerate((64, 96, 128), start=1):
        for number in (0, 1):
            block = f"{name}.layer{layer}.{number}"
            found |= conv(f"{block}.conv1", (width, before, 3, 3)) | conv(f"{block}.conv2", (width, width, 3, 3))
            norms |= {f"{block}.norm1": width, f"{block}.norm2": width}
            if before != width:
                found |= conv(f"{block}.downsample.0", (width, before, 1, 1))
                norms |= {f"{block}.norm3": width, f"{block}.downsample.1": width}
            before = width
    for place, width in norms.items() if batch else ():
        found |= norm(place, width)
    return found


def layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file, without `module.`."""
    found = encoder("fnet", 256, batch=False) | encoder("cnet", 256, batch=True)
    for name, shape in UPDATE.items():
        found |= conv(f"update_block.{name}", shape)
    return found


def test_the_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        network = Raft()
    assert shapes(network) == layout()
    assert parameters(network) == 5_257_536


@pytest.fixture(scope="module")
def named() -> dict[str, Tensor]:
    """Norms of the context's short cuts are there twice, under two names."""
    found = random(layout(), scale=0.05)
    for name in found:
        if ".norm3." in name:
            found[name.replace("norm3", "downsample.1")] = found[name]
    return found


class Reference:
    """Straight from the tensors by name, place by place where it looks things up."""

    def __init__(self, named: dict[str, Tensor]) -> None:
        self.named = named

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.named[f"{name}.weight"], self.named[f"{name}.bias"]
        padding = (weight.shape[2] // 2, weight.shape[3] // 2)
        return functional.conv2d(x, weight, bias, stride, padding)

    def norm(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" not in self.named:
            mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
            return (x - mean) / (var + 1e-5).sqrt()
        mean, var, gain, shift = (
            self.named[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + shift

    def encode(self, name: str, x: Tensor) -> Tensor:
        x = self.norm(f"{name}.norm1", self.conv(f"{name}.conv1", x, 2)).clamp_min(0)
        for layer in (1, 2, 3):
            for number in (0, 1):
                block, stride = f"{name}.layer{layer}.{number}", 2 if layer > 1 and not number else 1
                y = self.norm(f"{block}.norm1", self.conv(f"{block}.conv1", x, stride)).clamp_min(0)
                y = self.norm(f"{block}.norm2", self.conv(f"{block}.conv2", y)).clamp_min(0)
                if stride == 2:
                    x = self.norm(f"{block}.norm3", self.conv(f"{block}.downsample.0", x, 2))
                x = (x + y).clamp_min(0)
        return self.conv(f"{name}.conv2", x)

    def gate(self, number: int, state: Tensor, given: Tensor) -> Tensor:
        z, r = (
            torch.sigmoid(self.conv(f"update_block.gru.conv{gate}{number}", torch.cat([state, given], 1)))
            for gate in "zr"
        )
        new = torch.tanh(self.conv(f"update_block.gru.convq{number}", torch.cat([r * state, given], 1)))
        return (1 - z) * state + z * new

    def flow(self, before: Tensor, after: Tensor, rounds: int) -> Tensor:
        first, second = (2 * side / 255 - 1 for side in (before, after))
        a, b = self.encode("fnet", first), self.encode("fnet", second)
        state, context = self.encode("cnet", first).chunk(2, 1)
        state, context = torch.tanh(state), context.clamp_min(0)
        flow = torch.zeros(1, 2, *a.shape[2:])
        for _ in range(rounds):
            name = "update_block.encoder.conv"
            seen = self.conv(f"{name}c2", self.conv(f"{name}c1", looked_up(a, b, flow)).clamp_min(0)).clamp_min(0)
            moved = self.conv(f"{name}f2", self.conv(f"{name}f1", flow).clamp_min(0)).clamp_min(0)
            motion = torch.cat([self.conv(name, torch.cat([seen, moved], 1)).clamp_min(0), flow], 1)
            given = torch.cat([context, motion], 1)
            state = self.gate(2, self.gate(1, state, given), given)
            head = "update_block.flow_head.conv"
            flow = flow + self.conv(f"{head}2", self.conv(f"{head}1", state).clamp_min(0))
        choice = self.conv("update_block.mask.2", self.conv("update_block.mask.0", state).clamp_min(0)) / 4
        return made_finer(flow, choice)


def looked_up(a: Tensor, b: Tensor, flow: Tensor) -> Tensor:
    """One pair of pictures: likeness around where each cell has gone, x slow and y fast, at four sizes."""
    _, channels, rows, columns = a.shape
    level, found = b, []
    for size in range(4):
        alike = torch.einsum("cij,ckl->ijkl", a[0], level[0]) / math.sqrt(channels)
        padded = functional.pad(alike, (40, 40, 40, 40))
        for dx in range(-4, 5):
            for dy in range(-4, 5):
                place_x = (torch.arange(columns) + flow[0, 0]) / 2**size + dx
                place_y = (torch.arange(rows)[:, None] + flow[0, 1]) / 2**size + dy
                found.append(between(padded, place_y + 40, place_x + 40))
        level = functional.avg_pool2d(level, 2)  # likeness is linear: of means it is the mean
    return torch.stack(found)[None]


def between(fields: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """fields: (i, j, k, l), one for each place (i, j); y, x: (i, j), inside."""
    i, j = torch.meshgrid(torch.arange(y.shape[0]), torch.arange(y.shape[1]), indexing="ij")
    top, left = y.floor().long(), x.floor().long()
    down, right = y - top, x - left
    corners = [fields[i, j, top + step, left + side] for step in (0, 1) for side in (0, 1)]
    upper = corners[0] * (1 - right) + corners[1] * right
    return upper * (1 - down) + (corners[2] * (1 - right) + corners[3] * right) * down


def made_finer(flow: Tensor, choice: Tensor) -> Tensor:
    """Pixel by pixel: nine neighbours of the cell, rows first; weights of a pixel at neighbour · 64 + 8 y + x."""
    _, _, rows, columns = flow.shape
    padded = functional.pad(8 * flow, (1, 1, 1, 1))[0]
    fine = torch.zeros(1, 2, 8 * rows, 8 * columns)
    around = torch.stack([padded[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)])
    for y in range(8):
        for x in range(8):
            weights = choice[0, 8 * y + x :: 64].softmax(0)  # (9, y, x)
            fine[0, :, y::8, x::8] = (weights[:, None] * around).sum(0)
    return fine


def test_flow_is_that_of_the_description(named: dict[str, Tensor]) -> None:
    source = torch.Generator().manual_seed(1)
    before, after = (255 * torch.rand(1, 3, 128, 136, generator=source) for _ in range(2))
    network = raft({f"module.{name}": tensor for name, tensor in named.items()})
    with torch.no_grad():
        ours = network(before, after, rounds=2)
        theirs = Reference(named).flow(before, after, rounds=2)
    assert ours.abs().max() > 0.5  # it moved
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


def test_a_feature_that_moves_is_found_where_it_has_gone() -> None:
    """Likeness of cells with themselves, shifted: the largest is at the offset of the shift."""
    first = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    second = first.roll((1, 3), dims=(2, 3))  # 1 down, 3 to the right
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    found = Likeness(first, second).at(torch.stack([x, y])[None])[0, :81]  # the finest size
    best = found[:, 5:10, 5:10].argmax(0)
    assert (best == (3 + 4) * 9 + (1 + 4)).all()  # x changes slowest


def test_between_cells_by_a_line_and_outside_nothing() -> None:
    field = torch.arange(12.0).view(1, 1, 3, 4)
    places = torch.tensor([[[[1.0, 2.0], [0.5, 0.0], [2.0, 1.5], [-1.0, 0.0], [3.5, 0.0]]]])
    assert sampled(field, places).flatten().tolist() == pytest.approx([9.0, 0.5, 8.0, 0.0, 1.5], abs=1e-5)


def test_finer_flow_of_a_constant_is_constant_inside() -> None:
    flow = torch.stack([torch.full((4, 5), 2.0), torch.full((4, 5), -1.0)])[None]
    fine = finer(flow, torch.randn(1, 576, 4, 5))
    assert fine.shape == (1, 2, 32, 40)
    torch.testing.assert_close(fine[:, :, 8:-8, 8:-8], torch.tensor([16.0, -8.0]).view(1, 2, 1, 1).expand(1, 2, 16, 24))


@pytest.mark.parametrize(("size", "to"), [((128, 128), (128, 128)), ((130, 135), (136, 136)), ((129, 128), (136, 128))])
def test_pictures_are_filled_up_to_whole_cells(size: tuple[int, int], to: tuple[int, int]) -> None:
    ramp = torch.arange(float(size[0])).view(1, 1, -1, 1).expand(1, 3, *size)
    found = filled(ramp)
    assert found.shape[-2:] == to
    above = (to[0] - size[0]) // 2
    assert (found[0, 0, :above] == 0).all() and found[0, 0, above + size[0] - 1, 0] == size[0] - 1


def test_it_is_read_from_its_file_and_refuses_what_it_cannot_see(tmp_path: Path, named: dict[str, Tensor]) -> None:
    torch.save({f"module.{name}": tensor for name, tensor in named.items()}, tmp_path / "raft-things.pth")
    (network,) = Shelf({"raft": str(tmp_path / "raft-things.pth")}).take("raft")
    with pytest.raises(ShapeError, match="at least 128 pixels"):
        network(torch.zeros(1, 3, 120, 200), torch.zeros(1, 3, 120, 200))
    with pytest.raises(WeightsError, match=r"fnet\.conv1\.weight is missing"):
        raft(named)  # without module.
