"""Steer a video while it is made: other words, another camera, a weaker control, heard when the next block begins.

python examples/steer.py [MODEL]
"""

import sys
import tempfile
from pathlib import Path

from longvie import LongVie
from longvie.data.export import Export, export
from longvie.engine.changes import Move, Say, Strength
from longvie.engine.session import Outcome, Steering

SECONDS = 6


def told(outcome: Outcome) -> None:
    """What became of a wish."""
    if outcome.state == "pending":
        print(f"  asked: {outcome.change}")
    elif outcome.state == "applied":
        print(f"  holds from block {outcome.block}, frame {outcome.frame}")
    else:
        print(f"  refused: {outcome.reason}")


model = LongVie.from_pretrained(sys.argv[1] if len(sys.argv) > 1 else "world")
steering = Steering(tell=told)
with tempfile.TemporaryDirectory() as room:
    scene = Path(room) / "scene"
    export(Export(seed=7, frames=SECONDS * model.card.fps, fps=float(model.card.fps), size=model.card.size), scene)
    stream = model.stream_generate(
        "a clear day",
        duration_sec=SECONDS,
        image=scene / "first.png",
        controls={"depth": scene / "depth.npz", "tracks": scene / "tracks.npz"},
        engine="live",
        seed=7,
        steering=steering,
    )
    for number, chunk in enumerate(stream):
        print(f"{chunk.start_s:5.2f} s: {len(chunk.frames)} frames")
        if number == 3:  # three chunks are a block
            steering.ask(Say("night, heavy rain"))
        if number == 6:
            steering.ask(Move(pan=12, forward=0.2))
        if number == 9:
            steering.ask(Strength("depth", 0.3))
            steering.ask(Strength("smell", 1.0))
