"""How much the instruments err, on windows whose truth is known."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.data.world import COLOURS, SHAPES, held_out
from longvie.evaluation.frechet import polynomial_mmd
from longvie.evaluation.instruments import attributes, depth
from longvie.evaluation.instruments.attributes import AttributeNet, Named, Reading
from longvie.evaluation.instruments.damage import KINDS, damaged
from longvie.evaluation.instruments.depth import DepthNet
from longvie.evaluation.instruments.nets import unit
from longvie.evaluation.instruments.shots import TURNING, Shots
from longvie.evaluation.instruments.windows import HEADS, WindowNet

CLEAR = 6  # cells from which an object counts as visible


def depth_errors(net: DepthNet, known: Shots) -> dict[str, float]:
    """Means over windows, each under one scale and shift; beside what one depth for the whole window would give."""
    absrel, delta, flat = [], [], []
    for pictures, disparity in zip(known.picture, known.disparity, strict=True):
        true = disparity.float().numpy()
        counts = true > 0
        read, true = depth.disparity(pictures.numpy(), net)[counts], true[counts]
        error, right = depth.errors(depth.fitted(read, true), true)
        absrel.append(error.mean())
        delta.append(right.mean())
        flat.append(depth.errors(depth.fitted(np.ones_like(read), true), true)[0].mean())
    return {"absrel": float(np.mean(absrel)), "delta": float(np.mean(delta)), "absrel_of_a_plane": float(np.mean(flat))}


def attribute_errors(net: AttributeNet, known: Shots) -> dict[str, float]:
    """Shares of frames told right, and of objects found: of those there, and of those not there."""
    said = [attributes.read(pictures.numpy(), net) for pictures in known.picture]
    told = {
        "ground": (torch.stack([it.ground.argmax(1) for it in said]), known.ground[:, None].expand_as(known.hour)),
        "weather": (torch.stack([it.weather.argmax(1) for it in said]), known.weather),
        "hour": (torch.stack([it.hour.argmax(1) for it in said]), known.hour),
    }
    found = {name: float((mine == true)[true != TURNING].float().mean()) for name, (mine, true) in told.items()}
    pairs = [_pairs(*row) for row in zip(said, known.shape, known.colour, strict=True)]
    shown, absent, new = (np.array([it for row in pairs for it in row[place]]) for place in range(3))
    found |= {"objects_found": float(shown.mean()), "objects_found_that_are_not_there": float(absent.mean())}
    return found | ({"objects_found_of_unseen_pairs": float(new.mean())} if len(new) else {})


def _pairs(said: Reading, shape: Tensor, colour: Tensor) -> tuple[list[bool], list[bool], list[bool]]:
    """Was each pair of shape and colour shown: those clearly there, those not there at all, those there and never
    trained on."""
    shown, absent, new = [], [], []
    for a, kind in enumerate(SHAPES, 1):
        for b, hue in enumerate(COLOURS, 1):
            cells = ((shape == a) & (colour == b)).sum((1, 2))
            found = said.shows(Named("object", f"{hue} {kind}", kind, hue))
            shown += found[cells >= CLEAR].tolist()
            absent += found[cells == 0].tolist()
            new += found[cells >= CLEAR].tolist() if held_out(kind, hue) else []
    return shown, absent, new


def window_errors(net: WindowNet, known: Shots) -> dict[str, float]:
    """Shares of windows told right by each head; and the MMD of windows with each damage to the same without, "none"
    being where it begins: below 0, since the windows are the same."""
    random = np.random.Generator(np.random.PCG64(0))
    with torch.inference_mode():
        said = [net(unit_windows(known.picture[at : at + 1])) for at in range(len(known))]
    true = known.asked(np.arange(len(known)))
    classes = [name for name, count in HEADS.items() if count and name in true]
    right = {name: torch.cat([it[name] for it in said]).argmax(1) == true[name] for name in classes}
    found = {name: float(of[true[name] != TURNING].float().mean()) for name, of in right.items()}
    found |= {"damage": _damage_found(net, known, random)}
    whole = features(net, known.picture)
    for kind in KINDS:
        broken = features(net, broken_windows(known.picture, kind, 0.5, random))
        found |= {f"mmd_of_{kind.replace(' ', '_')}": polynomial_mmd(broken, whole)}
    return found


def _damage_found(net: WindowNet, known: Shots, random: np.random.Generator) -> float:
    """Share of windows whose damage, one kind after another, is told right."""
    right = []
    for at in range(len(known)):
        kind = KINDS[at % len(KINDS)]
        other = known.picture[(at + 1) % len(known)].numpy()
        window = damaged(known.picture[at].numpy(), other, kind, float(random.random()), random)
        with torch.inference_mode():
            said = net(unit_windows(torch.from_numpy(np.ascontiguousarray(window))[None]))
        right.append(int(said["damage"].argmax()) == KINDS.index(kind))
    return float(np.mean(right))


def broken_windows(
    pictures: UInt8[Tensor, "n f y x 3"], kind: str, strength: float, random: np.random.Generator
) -> UInt8[Tensor, "n f y x 3"]:
    """Every window with the same fault, or none."""
    rows = pictures.numpy()
    made = [damaged(row, rows[at - 1], kind, strength, random) for at, row in enumerate(rows)]
    return torch.from_numpy(np.stack(made))


@torch.inference_mode()
def features(net: WindowNet, pictures: UInt8[Tensor, "n f y x 3"]) -> Float[Tensor, "n d"]:
    """Of windows, one after another."""
    return torch.cat([net.features(net.maps(unit(window))[None]) for window in pictures])


def unit_windows(pictures: UInt8[Tensor, "n f y x 3"]) -> Float[Tensor, "n f 3 y x"]:
    """From bytes to [-1, 1]."""
    return unit(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
