"""A run is a folder: what was asked, what happened, the video so far, and all that is needed to go on.

    x.run/
    ├── run.json        the request, the weights by hash, the versions; written once
    ├── events.jsonl    what happened, added line by line
    ├── video/000.mp4   the frames of each part, as they are made
    ├── state/000.safetensors   where the engine can be taken up after each part
    ├── final.mp4       all of it, at the end
    └── lock

A part counts once its event is in the journal: video and state are whole and on the disk before that. After a crash at
any moment the same request goes on from the last part and ends in the same bytes.
"""

from longvie.runs.facts import MARK, Engine, Output, differing, weights_hash
from longvie.runs.run import Run, Summary
from longvie.runs.stopping import Stop, stopped_by_signals

__all__ = [
    "MARK",
    "Engine",
    "Output",
    "Run",
    "Stop",
    "Summary",
    "differing",
    "stopped_by_signals",
    "weights_hash",
]
