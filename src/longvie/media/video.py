"""Videos in: frames by presentation time, one at a time, from files that may be anything.

The bytes decide the format, never the name. FFmpeg sees an open file and no path, so that it can follow no playlist and
no address; the demuxer, the list of decoders and one thread are fixed, and its messages are not passed on.

Colours: the matrix that the video declares (BT.601 where it declares none, as FFmpeg does), range made full; transfer
curves and primaries are left alone. Pixels are taken as stored: a display aspect ratio is ignored, rotation by quarter
turns is applied, transparency is dropped.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import Int64, UInt8

from longvie.errors import LimitError, MediaError
from longvie.limits import LOCAL, Limits
from longvie.media.containers import open_front
from longvie.media.convert import Rate, Size, exact_rate, resample_indices, resize_frames
from longvie.media.files import open_regular, shown

DECODERS = "h264,hevc,libdav1d,av1,vp9,vp8,mpeg4,mjpeg,prores,ffv1"
# The same numbers on every processor, and chroma that is not halved once more on the way to RGB.
TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


@dataclass(frozen=True)
class VideoInfo:
    """What a video file is, measured from its packets and not from its promises.

    `fps` is the mean rate; `rotation` is in degrees counter-clockwise and already applied to height and width. Of
    `bits` a colour reading keeps the upper 8; what is `transparent` is read in its full colour.
    """

    frames: int
    height: int
    width: int
    fps: float
    duration_s: float
    rotation: int
    codec: str
    constant_rate: bool
    bits: int = 8
    transparent: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)


def probe_video(path: Path, *, limits: Limits = LOCAL) -> VideoInfo:
    """Sizes, rate and length of a video; the packets are read, the first frame is decoded.

    Raises:
        MediaError: not a video that we read, or none of its frames can be decoded.
        LimitError: more than `limits` allows.
    """
    with VideoFrames(path, limits=limits) as video:
        return video.info


def iter_video(
    path: Path,
    *,
    size: Size | None = None,
    fps: Rate | None = None,
    start: int = 0,
    stop: int | None = None,
    limits: Limits = LOCAL,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames `start` to `stop` in the order in which they are shown; memory for one frame, whatever the length.

    Args:
        size: height and width to give; averaged by area.
        fps: give frames at this rate: at each tick the nearest earlier one. `start` and `stop` then count ticks.

    Raises:
        MediaError: cannot be read, is cut short, or changes size on the way.
        LimitError: more than `limits` allows, by declaration or while decoding.
    """
    with VideoFrames(path, size=size, fps=fps, limits=limits) as video:
        yield from video.each(start, video.frames if stop is None else stop)


def read_video(
    path: Path,
    *,
    size: Size | None = None,
    fps: Rate | None = None,
    start: int = 0,
    stop: int | None = None,
    limits: Limits = LOCAL,
) -> UInt8[np.ndarray, "f h w 3"]:
    """The same as one array, refused above `limits.array_bytes`."""
    with VideoFrames(path, size=size, fps=fps, limits=limits) as video:
        return video.read(start, video.frames if stop is None else stop)


@dataclass(frozen=True)
class _Timeline:
    """When frames are shown, in ticks of the stream, known before any of them is decoded."""

    times: Int64[np.ndarray, " f"]  # ascending; frame numbers where the file holds no usable times
    keys: Int64[np.ndarray, " k"]  # times of the frames that decoding can begin at, ascending
    timed: bool  # each frame has a time of its own, so that one can be found again after a jump


class VideoFrames:
    """An open video as a source of frames; reading on is free of jumps, reading back starts at the key frame before.

    Attributes: `frames`, `height`, `width`, `fps` as they are given out (after `size` and `fps`), and `info`, those of
    the file itself. Close it, or use it in a `with`.
    """

    def __init__(
        self, path: Path, *, size: Size | None = None, fps: Rate | None = None, limits: Limits = LOCAL
    ) -> None:
        self._name, self._limits, self._size = shown(path), limits, size
        self._colours = VideoReformatter()
        self._spent = 0  # bytes decoded so far
        self._stored: Size | None = None  # height and width before rotation, set by the first frame
        with ExitStack() as opened:
            file = opened.enter_context(open_regular(path, limits=limits))
            self._container, self._stream = open_container(file, self._name, limits)
            opened.callback(self._container.close)
            self._timeline = _read_timeline(self._container, self._stream, self._name, limits)
            self._restart()
            self.info = self._measure()
            self.values: Literal["rgb"] = "rgb"
            self.height, self.width = size or (self.info.height, self.info.width)
            self.fps: float | None = self.info.fps if fps is None else float(fps)
            self._shown = None if fps is None else self._frames_at(fps)
            self.frames = self.info.frames if self._shown is None else len(self._shown)
            self._opened = opened.pop_all()

    def __enter__(self) -> "VideoFrames":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._decoded = iter(())
        self._opened.close()

    def read(self, start: int, stop: int) -> UInt8[np.ndarray, "f h w 3"]:
        """Frames `start` to `stop` as one array.

        Raises:
            MediaError: outside the video, or cannot be decoded.
            LimitError: larger than `limits.array_bytes`.
        """
        self._limits.check("array_bytes", max(0, stop - start) * self.height * self.width * 3, self._name)
        out = np.empty((max(0, stop - start), self.height, self.width, 3), np.uint8)
        for index, frame in enumerate(self.each(start, stop)):
            out[index] = frame
        return out

    def each(self, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Frames `start` to `stop`, one at a time."""
        if not 0 <= start <= stop <= self.frames:
            raise MediaError(f"{self._name} has {self.frames} frames; {start} to {stop} were asked for")
        numbers = range(start, stop) if self._shown is None else self._shown[start:stop]
        last, picture = -1, None
        for number in numbers:
            if picture is None or number != last:
                last, picture = number, self._picture(int(number))
            yield picture

    def _picture(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        rgb = self._rgb(self._find(number))
        return rgb if self._size is None else resize_frames(rgb[None], self._size)[0]

    def _find(self, number: int) -> VideoFrame:
        """The frame with this number, decoding on from where we are or from a key frame before it."""
        key = int(np.searchsorted(self._timeline.keys, self._timeline.times[number], side="right")) - 1
        nearest = int(np.searchsorted(self._timeline.times, self._timeline.keys[max(key, 0)]))
        if number < self._at or nearest > self._at:
            self._jump(nearest)
        frame = self._decode_to(number)
        if frame is None and self._jumped:  # the demuxer landed behind the key frame: take the long way
            self._restart()
            frame = self._decode_to(number)
        if frame is None:
            raise MediaError(
                f"{self._name} promises {len(self._timeline.times)} frames, only {number} can be decoded; it is cut "
                "short or damaged, write it again"
            )
        return frame

    def _decode_to(self, number: int) -> VideoFrame | None:
        for found, frame in self._decoded:
            self._at = found + 1
            if found >= number:
                return frame if found == number and not frame.is_corrupt else None
        return None

    def _jump(self, key: int) -> None:
        if not self._timeline.timed:
            self._restart()
            return
        with readable(self._name):
            self._container.seek(int(self._timeline.times[key]), stream=self._stream)
        self._decoded, self._at, self._jumped = self._decode(), key, True

    def _restart(self) -> None:
        with readable(self._name):
            first = int(self._timeline.times[0]) if self._timeline.timed else self._stream.start_time or 0
            self._container.seek(min(first, self._stream.start_time or 0, 0), stream=self._stream)
        self._decoded, self._at, self._jumped = self._decode(), 0, False

    def _decode(self) -> Iterator[tuple[int, VideoFrame]]:
        """Numbered frames from where the container stands."""
        count = 0
        with readable(self._name):
            for packet in self._container.demux(self._stream):
                if packet.is_corrupt:  # the torn end of a file whose writer was killed
                    continue
                for frame in packet.decode():
                    self._account(frame)
                    number = self._number(frame, count)
                    count += 1
                    if number is not None:
                        yield number, frame

    def _number(self, frame: VideoFrame, count: int) -> int | None:
        if not self._timeline.timed:
            return count if count < len(self._timeline.times) else None
        if frame.pts is None:
            return None
        number = int(np.searchsorted(self._timeline.times, frame.pts))
        return number if number < len(self._timeline.times) and self._timeline.times[number] == frame.pts else None

    def _account(self, frame: VideoFrame) -> None:
        """Refuse a change of size, and more decoded bytes than allowed."""
        self._limits.check("video_pixels", frame.height * frame.width, self._name)
        self._spent += frame.height * frame.width * 3
        self._limits.check("decoded_bytes", self._spent, self._name)
        if self._stored is None:
            self._stored = (frame.height, frame.width)
        if self._stored != (frame.height, frame.width):
            before, now = ("×".join(map(str, size)) for size in (self._stored, (frame.height, frame.width)))
            raise MediaError(f"{self._name} changes size from {before} to {now}; give a video of one size")

    def _rgb(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        with readable(self._name):
            full = self._colours.reformat(
                frame, format="rgb24", interpolation=TO_RGB, dst_color_range=ColorRange.JPEG, threads=1
            )
            return np.ascontiguousarray(np.rot90(full.to_ndarray(), self._turns))

    def _measure(self) -> VideoInfo:
        """Decode the first frame: a file of which nothing can be decoded is not a video."""
        first = self._find(0)
        if first.rotation % 90:
            raise MediaError(f"{self._name} is turned by {first.rotation} degrees; only quarter turns are read")
        self._turns = first.rotation // 90
        height, width = (first.width, first.height) if self._turns % 2 else (first.height, first.width)
        rate, seconds = self._rate(), self._seconds()
        duration_s = float(seconds[-1] + 1 / rate)
        self._limits.check("seconds", duration_s, self._name)
        self._restart()
        self._spent = 0
        return VideoInfo(
            frames=len(self._timeline.times),
            height=height,
            width=width,
            fps=float(rate),
            duration_s=duration_s,
            rotation=first.rotation,
            codec=self._stream.codec_context.name,
            # Within a quarter of a frame: clocks are coarse (Matroska counts milliseconds) and cameras jitter.
            constant_rate=bool(np.abs(seconds * float(rate) - np.arange(len(seconds))).max() < 0.25),
            bits=max(part.bits for part in first.format.components),
            transparent=any(part.is_alpha for part in first.format.components),
            metadata=dict(self._container.metadata),
        )

    def _rate(self) -> Fraction:
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate or rate <= 0:
            raise MediaError(f"{self._name} does not say how many frames it shows a second")
        self._limits.check("frames_per_second", float(rate), self._name)
        return rate

    def _seconds(self) -> np.ndarray:
        """When each frame is shown, in seconds after the first."""
        if not self._timeline.timed:
            return np.arange(len(self._timeline.times)) / float(self._rate())
        assert self._stream.time_base is not None
        return (self._timeline.times - self._timeline.times[0]) * float(self._stream.time_base)

    def _frames_at(self, fps: Rate) -> Int64[np.ndarray, " n"]:
        """Frame numbers at the ticks of another rate."""
        ticks = max(1, round(self.info.duration_s * float(exact_rate(fps))))
        self._limits.check("frames", ticks, f"{self._name} at {float(fps):g} frames a second")
        if self.info.constant_rate:
            return resample_indices(self.info.frames, self._rate(), fps)
        return np.searchsorted(self._seconds(), np.arange(ticks) / float(fps) + 1e-6, side="right") - 1


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Whatever FFmpeg has against a file becomes one plain sentence; its own words may hold parts of memory."""
    try:
        yield
    except av.error.MemoryError:
        raise LimitError(f"{name} asks for more memory than there is") from None
    except (av.error.FFmpegError, OSError, ValueError, EOFError, IndexError):
        raise MediaError(f"{name} is damaged or not a video that can be decoded") from None


def open_container(file: BinaryIO, name: str, limits: Limits) -> tuple[InputContainer, VideoStream]:
    """FFmpeg's view of an open file, with everything forced that could be; close the container before the file."""
    demuxer, front = open_front(file, name)
    demuxing = {"protocol_whitelist": "file", "codec_whitelist": DECODERS, "format_whitelist": "mov,matroska,webm"}
    decoding = {"threads": "1", "max_pixels": str(limits.video_pixels)}
    with readable(name):
        container = av.open(
            front, "r", format=demuxer, container_options=demuxing, options=decoding, metadata_errors="replace"
        )
    videos = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    if not videos:
        container.close()
        raise MediaError(f"{name} holds no video; give a file with pictures in it")
    stream = videos[0]
    if stream.codec_context is None or stream.codec_context.name not in DECODERS.split(","):
        raise MediaError(f"{name} is coded in a way that is not read here; convert it to H.264")
    limits.check("video_pixels", stream.height * stream.width, name)
    limits.check("frames", stream.frames, name)
    if stream.duration is not None and stream.time_base is not None:
        limits.check("seconds", float(stream.duration * stream.time_base), name)
    stream.thread_count = 1
    stream.codec_context.options = decoding
    return container, stream


def _read_timeline(container: InputContainer, stream: VideoStream, name: str, limits: Limits) -> _Timeline:
    """Read every packet once, decoding none."""
    promised = len(stream.index_entries) if stream.frames else 0  # a fragmented file promises nothing
    times: list[int | None] = []
    keys: list[int] = []
    found = 0
    with readable(name):
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_corrupt:
                continue
            found += 1
            limits.check("frames", found, name)
            if packet.is_keyframe and packet.pts is not None:
                keys.append(packet.pts)
            if not packet.is_discard and not _unseen(packet, stream):
                times.append(packet.pts)
    if found < promised:
        raise MediaError(f"{name} promises {promised} frames, {found} are there; it is cut short, write it again")
    if not times:
        raise MediaError(f"{name} holds no frame that can be decoded; at least 1 is needed")
    return _order(times, keys)


def _unseen(packet: av.Packet, stream: VideoStream) -> bool:
    """VP8 stores reference pictures that are never shown as packets of their own (RFC 6386, 9.1: show_frame)."""
    return stream.codec_context.name == "vp8" and not bytes(packet)[0] >> 4 & 1


def _order(times: list[int | None], keys: list[int]) -> _Timeline:
    """Packets come in the order of decoding; sort them by when they are shown."""
    known = [time for time in times if time is not None]
    if len(known) < len(times) or len(set(known)) < len(known) or not keys:
        return _Timeline(np.arange(len(times)), np.zeros(1, np.int64), timed=False)
    first = min(keys)  # what is shown before the first key frame has nothing to be decoded from
    shown_at = np.sort(np.array([time for time in known if time >= first], np.int64))
    return _Timeline(shown_at, np.sort(np.array(keys, np.int64)), timed=True)
