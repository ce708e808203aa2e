"""Frames while they are made: each second of video arrives long before the last one is computed."""

import sys
import time

from longvie import LongVie


def main(name: str = "world", seconds: float = 10.0) -> None:
    """Print when each second of a video arrives."""
    model = LongVie.from_pretrained(name)
    begun = time.monotonic()
    for chunk in model.stream_generate(
        "a red ball rolling on grass, a clear day", duration_sec=seconds, chunk_size=1.0
    ):
        print(f"second {chunk.start_s:.0f}: {chunk.frames.shape} after {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:2])
