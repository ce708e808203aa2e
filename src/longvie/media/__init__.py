"""The one door for bytes: videos, pictures and arrays in and out. uint8 lives here, [-1, 1] everywhere else."""

from longvie.media.arrays import ArrayFile, array_names, read_array, read_arrays
from longvie.media.convert import adapt_frames, exact_rate, resample_indices, resize_frames, to_bytes, to_unit
from longvie.media.exr import read_exr
from longvie.media.files import open_regular, private_copy, replace_atomically, write_bytes_atomically
from longvie.media.pictures import read_grey16, read_labels, read_picture, write_picture
from longvie.media.sources import FrameSource, open_frames
from longvie.media.video import VideoFrames, VideoInfo, iter_video, probe_video, read_video
from longvie.media.writer import VideoWriter, join_segments, key_seconds, quality

__all__ = [
    "ArrayFile",
    "FrameSource",
    "VideoFrames",
    "VideoInfo",
    "VideoWriter",
    "adapt_frames",
    "array_names",
    "exact_rate",
    "iter_video",
    "join_segments",
    "key_seconds",
    "open_frames",
    "open_regular",
    "private_copy",
    "probe_video",
    "quality",
    "read_array",
    "read_arrays",
    "read_exr",
    "read_grey16",
    "read_labels",
    "read_picture",
    "read_video",
    "replace_atomically",
    "resample_indices",
    "resize_frames",
    "to_bytes",
    "to_unit",
    "write_bytes_atomically",
    "write_picture",
]
