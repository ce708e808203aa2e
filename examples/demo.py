"""The demo: a scene of the world as files, a minute of video that follows them, and a sheet to see it by.

Everything goes through the commands that anybody would type; each is printed before it runs. `make demo` calls this.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from longvie.evaluation.sheet import sheet


def longvie(*arguments: str | Path) -> None:
    """One command of `longvie`, shown and run; its failure is ours."""
    words = [str(argument) for argument in arguments]
    print("\n$ longvie " + " ".join(f"'{word}'" if " " in word else word for word in words), flush=True)
    done = subprocess.run([sys.executable, "-m", "longvie", *words], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def demo(out: Path, *, seed: int, duration: float, model: str) -> None:
    """Leaves `demo.mp4` and `demo_sheet.png` in `out`."""
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    longvie("models", "show", model)  # no weights, no demo: said before anything is drawn
    scene = out / "demo_scene"
    longvie("world", "render", "--seed", seed, "--duration", duration, "--out", scene, "--force")
    for name in ("depth", "tracks"):
        drawn = out / f"demo_{name}.mp4"
        longvie("control", "render", name, scene / f"{name}.npz", "--out", drawn, "--force")
    made = out / "demo.mp4"
    longvie(
        "generate", "--model", model, "--image", scene / "first.png", "--depth", scene / "depth.npz",
        "--tracks", scene / "tracks.npz", "--beats", scene / "beats.json", "--prompts", scene / "prompts.json",
        "--duration", duration, "--seed", seed, "--out", made, "--force",
    )  # fmt: skip
    rows = {
        "depth": out / "demo_depth.mp4",
        "tracks": out / "demo_tracks.mp4",
        "made": made,
        "truth": scene / "truth.mp4",
    }
    sheet(rows, out / "demo_sheet.png")
    print(f"\n{made} follows depth and tracks of scene {seed}, which no training has seen, from its first picture on.")
    print(f"{out / 'demo_sheet.png'} shows both controls, what was made, and the truth, side by side over time.")
    if model == "tiny":
        print("The weights were random, as asked: the pictures mean nothing.")
    print(f"All of it took {time.monotonic() - begun:.0f} s.")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--duration", type=float, default=60.0)
    parser.add_argument("--model", default="world", help="'tiny' has random weights and only shows that all runs")
    given = parser.parse_args()
    demo(given.out, seed=given.seed, duration=given.duration, model=given.model)


if __name__ == "__main__":
    main()
