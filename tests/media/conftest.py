"""Videos that our own writer would not make."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import Make, numbered


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A video made by FFmpeg without our writer: any container, coder, order of frames and times of showing."""

    def build(
        name: str = "video.mp4",
        frames: np.ndarray | None = None,
        *,
        fps: int | Fraction = 16,
        times: Sequence[int] | None = None,
        tick: Fraction | None = None,
        codec: str = "libx264",
        pixels: str = "yuv420p",
        rotation: int = 0,
        coding: dict[str, str] | None = None,
        container: dict[str, str] | None = None,
    ) -> Path:
        frames = numbered(range(12)) if frames is None else frames
        kinds = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
        path = tmp_path / name
        with av.open(str(path), "w", format=kinds[path.suffix], container_options=container or {}) as out:
            stream = out.add_stream(codec, rate=fps, width=frames.shape[2], height=frames.shape[1])
            stream.options = {"g": "5", **(coding or {})}
            stream.pix_fmt, stream.codec_context.thread_count = pixels, 1
            if tick is not None:
                stream.codec_context.time_base = tick
            if rotation:
                stream.set_display_rotation(rotation)
            for index, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame)
                picture.pts = index if times is None else times[index]
                picture.time_base = tick or Fraction(1) / fps
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        return path

    return build
