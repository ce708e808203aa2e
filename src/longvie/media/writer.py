"""Videos out: H.264 in MP4 that browsers play, with the same bytes for the same frames.

While a run goes on, segments are written fragmented: after a kill, every finished fragment can be read. At the end the
segments are joined, without encoding again, into one plain MP4 that appears whole or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.errors import ConfigError, MediaError, ShapeError
from longvie.limits import LOCAL, Limits
from longvie.media.convert import Rate, Size, exact_rate, to_bytes
from longvie.media.files import file_size, flush_to_disk, open_regular, replace_atomically, room_for, shown
from longvie.media.video import open_container, readable

METADATA_KEYS = frozenset({"title", "artist", "album", "comment", "description", "synopsis", "copyright", "genre"})
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
_BITEXACT = {"fflags": "+bitexact", "flush_packets": "1"}  # no library versions, no time of day; nothing held back
_FRAGMENTED = _BITEXACT | {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_PLAIN = _BITEXACT | {"movflags": "faststart"}  # the index in front, so that a browser can begin at once
FINE, USUAL, SMALL = 4, 18, 240  # crf of small pictures and of others; rows below which a picture is small
_REPEATABLE = "cpu-independent=1"  # else x264 codes one small video in thirty another way, by what lay in memory before
_FROM_RGB = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)


def quality(size: Size) -> int:
    """The crf at which coding is not seen: small pictures are looked at enlarged.

    Args:
        size: height and width.
    """
    return FINE if size[0] < SMALL else USUAL


def key_seconds(size: Size) -> int:
    """Seconds between key frames: of small pictures every frame is one, as one among others is seen as a jolt.

    Args:
        size: height and width.
    """
    return 0 if size[0] < SMALL else 1


class VideoWriter:
    """Writes one MP4, H.264 4:2:0, BT.709 limited range and tagged so; use it in a `with`.

    No frame refers to a later one, so that segments can be joined and shown without delay. Fragmented files are written
    in place, a fragment per key frame; what was written stays after an exception. Plain files appear by rename at the
    end, or not at all.

    Args:
        size: height and width; odd ones are refused, since 4:2:0 halves both.
        crf: constant quality, 0 (lossless) to 51; 18 is hard to tell from the source.
        preset: x264's name for effort; "veryfast" keeps up with a live stream on one core.
        seconds_per_key: seconds between key frames, and so what a kill can cost; 0 makes every frame one.
        metadata: only the names in `METADATA_KEYS`, since players drop others.

    Raises:
        ShapeError: an odd or empty size, or frames of another size.
        ConfigError: crf or metadata that cannot be written.
        ResourceError: no room, or the folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: Rate,
        size: Size,
        fragmented: bool = True,
        crf: int = 18,
        preset: Preset = "veryfast",
        seconds_per_key: int | float = 1,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if not 0 <= crf <= 51:
            raise ConfigError(f"crf is {crf}; it goes from 0 (lossless) to 51")
        self._path, self._rate, self._size = path, exact_rate(fps), _even(size)
        self._metadata = checked_metadata(metadata)
        self._coding = {"crf": str(crf), "preset": preset, "bf": "0", "x264-params": _REPEATABLE}
        self._coding["g"] = str(max(1, round(float(self._rate) * seconds_per_key)))
        self._colours = VideoReformatter()
        self._written = 0  # bytes
        self.frames = 0
        self._opened = ExitStack()
        with ExitStack() as opened, room_for(0, path.parent):
            target = path if fragmented else opened.enter_context(replace_atomically(path))
            self._container = _create(target, _FRAGMENTED if fragmented else _PLAIN, self._metadata)
            self._stream = self._h264()
            self._container.start_encoding()  # a folder that cannot be written is found now and not after an hour
            self._opened = opened.pop_all()
        self._fragmented, self._closed = fragmented, False

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._closed = True
            self._abandon()

    def write(self, frames: UInt8[np.ndarray, "f h w 3"] | Float[Tensor, "3 f h w"]) -> None:
        """Append frames: 8-bit ones as they are, tensors in [-1, 1] through `to_bytes`.

        Raises:
            MediaError: a frame holds NaN or infinity; nothing of this call is written.
            ShapeError, ResourceError: see the class.
        """
        if isinstance(frames, Tensor):
            frames = to_bytes(frames, first=self.frames)
        if frames.shape[1:3] != self._size:
            came, needed = ("×".join(map(str, size)) for size in (frames.shape[1:3], self._size))
            raise ShapeError(f"frames of {came} pixels were given to a video of {needed}; resize them first")
        with room_for(self._written + frames.nbytes, self._path.parent):
            for frame in frames:
                self._mux(self._picture(frame))

    def close(self) -> None:
        """Finish the file and wait until it is on the disk; closing again does nothing.

        Raises:
            MediaError: no frame was written.
            ResourceError: no room for the end of the file.
        """
        if self._closed:
            return
        self._closed = True
        if self.frames == 0:
            self._abandon()
            raise MediaError(f"no frame was written to {shown(self._path)}; a video needs at least 1")
        try:
            with room_for(self._written, self._path.parent):
                self._mux(None)
                self._container.close()
                if self._fragmented:
                    flush_to_disk(self._path)
                    flush_to_disk(self._path.parent)
                self._opened.close()
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """After an error: keep the fragments that are whole, remove a plain file that is not."""
        failures = (av.error.FFmpegError, OSError, ValueError)
        with suppress(*failures):
            if self.frames:
                self._mux(None)
        with suppress(*failures):
            self._container.close()
        with suppress(_Abandoned):
            self._opened.__exit__(_Abandoned, _Abandoned(), None)

    def _h264(self) -> VideoStream:
        height, width = self._size
        stream = self._container.add_stream(
            "libx264", rate=self._rate, options=self._coding, width=width, height=height
        )
        coder = stream.codec_context
        coder.thread_count = 1  # the same bytes on any number of cores
        coder.flags |= Flags.bitexact
        coder.pix_fmt = "yuv420p"
        coder.colorspace, coder.color_range = Colorspace.ITU709, ColorRange.MPEG
        coder.color_primaries, coder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        return stream

    def _picture(self, frame: UInt8[np.ndarray, "h w 3"]) -> VideoFrame:
        picture = self._colours.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(frame)),
            format="yuv420p",
            interpolation=_FROM_RGB,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        picture.pts, picture.time_base = self.frames, 1 / self._rate
        self.frames += 1
        return picture

    def _mux(self, picture: VideoFrame | None) -> None:
        for packet in self._stream.encode(picture):
            self._written += packet.size
            self._container.mux(packet)


class _Abandoned(Exception):  # noqa: N818 - not an error, a way out
    """Tells `replace_atomically` that the file will not be finished."""


def join_segments(
    segments: Sequence[Path],
    out: Path,
    *,
    fps: Rate,
    metadata: Mapping[str, str] | None = None,
    limits: Limits = LOCAL,
) -> int:
    """Put finished segments of a `VideoWriter` one after another into one plain MP4 without encoding again.

    The index is in front and `out` appears by rename. Memory does not grow with length, save for the index (about 100
    bytes a frame). The bytes depend on the segments, the rate and the metadata alone.

    Returns:
        The number of frames.

    Raises:
        MediaError: no segments, or one that is damaged or differs from the first in size or coding.
        ResourceError: no room for as much as all segments take together.
    """
    if not segments:
        raise MediaError("there are no segments to join; at least 1 is needed")
    needed = sum(_bytes_in(segment, limits) for segment in segments)
    rate, frames = exact_rate(fps), 0
    with replace_atomically(out, needed=needed) as part, ExitStack() as opened:
        joined = opened.enter_context(closing(_create(part, _PLAIN, checked_metadata(metadata))))
        target: VideoStream | None = None
        for segment in segments:
            with open_regular(segment, limits=limits) as file:
                source, stream = open_container(file, shown(segment), limits)
                with closing(source):
                    if target is None:
                        target = joined.add_stream_from_template(stream, opaque=True)
                        target.time_base, first = 1 / rate, _coding(stream)
                    if _coding(stream) != first:
                        raise MediaError(f"{shown(segment)} differs in size or coding from the first segment")
                    frames = _append(source.demux(stream), joined, target, 1 / rate, frames, shown(segment))
    return frames


def _append(
    packets: Iterator[Packet], joined: OutputContainer, target: VideoStream, tick: Fraction, frames: int, name: str
) -> int:
    """Copy the packets of one segment, counted on from `frames`, one `tick` apart."""
    before = frames
    while (packet := _next(packets, name)) is not None:
        if packet.is_corrupt or packet.pts != packet.dts or (frames == before and not packet.is_keyframe):
            raise MediaError(
                f"{name} is not a finished segment: frame {frames - before} is torn or refers to later ones"
            )
        packet.stream, packet.time_base = target, tick  # the muxer's own clock is finer than a frame
        packet.pts = packet.dts = frames
        packet.duration = 1
        joined.mux(packet)
        frames += 1
    if frames == before:
        raise MediaError(f"{name} holds no frames")
    return frames


def _next(packets: Iterator[Packet], name: str) -> Packet | None:
    """The next packet with bytes in it; what FFmpeg has against the segment is not confused with errors of writing."""
    with readable(name):
        return next((packet for packet in packets if packet.size), None)


def _coding(stream: VideoStream) -> tuple[str, int, int, bytes | None]:
    return stream.codec_context.name, stream.height, stream.width, stream.codec_context.extradata


def _bytes_in(path: Path, limits: Limits) -> int:
    with open_regular(path, limits=limits) as file:
        return file_size(file)


def _create(path: Path, options: dict[str, str], metadata: Mapping[str, str]) -> OutputContainer:
    container = av.open(f"file:{path}", "w", format="mp4", container_options=options)
    container.metadata.update(metadata)
    return container


def _even(size: Size) -> Size:
    height, width = size
    if min(height, width) < 2 or height % 2 or width % 2:
        raise ShapeError(f"{height}×{width} pixels cannot be written as 4:2:0; both must be even and at least 2")
    return size


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata that every player keeps.

    Raises:
        ConfigError: a name that MP4 would drop silently, an empty or a zero character, or more than 1 MiB.
    """
    metadata = dict(metadata or {})
    for name, text in metadata.items():
        if name not in METADATA_KEYS:
            raise ConfigError(f"MP4 keeps no '{name}'; use one of {', '.join(sorted(METADATA_KEYS))}")
        if "\0" in text:
            raise ConfigError(f"metadata '{name}' holds a zero character")
        LOCAL.check("metadata_bytes", len(text.encode(errors="replace")), f"metadata '{name}'")
    return {name: text.encode(errors="replace").decode() for name, text in metadata.items()}
