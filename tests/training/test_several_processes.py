"""The same stages under torchrun: several processes share a folder, their gradients, and what comes out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from longvie.models.transformer import VideoTransformer
from longvie.training.checkpoint import CHECKPOINT
from made import rendered

PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState

from longvie.training import rolled, world
from longvie.training.world import Plan, Sizes, train

torch.set_num_threads(1)
world.HELD_OUT = world.HELD_OUT_LONG = 1
world.CAPTIONS, rolled.BLOCKS, world.SIZE = 40, 4, (32, 48)
sizes = Sizes(width=72, layers=1, ffn=64, control_layers=1, control_width=72, control_ffn=64)
plan = Plan(clips=2, played=1, rolled=1, sizes=sizes, steps=2).lasting(dict.fromkeys(world.PACES, 60.0))
for stage in sys.argv[2:]:
    train(Path(sys.argv[1]), stage, plan)
state = PartialState()
(Path(sys.argv[1]).parent / f"done-{state.process_index}-of-{state.num_processes}").touch()
"""


def launched(program: Path, folder: Path, *stages: str, processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, str(program), str(folder), *stages], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for at in range(processes):
        (folder.parent / f"done-{at}-of-{processes}").unlink()  # each has come to its end


def test_two_processes_train_the_live_stages_together(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    program, folder = tmp_path / "program.py", tmp_path / "runs"
    program.write_text(PROGRAM)
    shutil.copytree(rendered(tmp_path_factory), folder)
    before = "autoencoder", "decoder", "latents", "base"
    launched(program, folder, *before, processes=1)
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    launched(program, folder, "causal", "distill", "match", "rolled", "long", "pack", processes=2)
    for stage in ("causal", "distill", "match", "long"):
        rows = [json.loads(line) for line in (folder / stage / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "loss" in row] == [1]  # one of them writes
        assert (folder / stage / CHECKPOINT).exists()
    assert (folder / "world" / "card.json").exists()
    launched(program, alone, "causal", processes=1)
    one, two = (VideoTransformer.from_pretrained(it / "causal" / "transformer").state_dict() for it in (alone, folder))
    assert any(not torch.equal(one[name], two[name]) for name in one)  # the second process had batches of its own
