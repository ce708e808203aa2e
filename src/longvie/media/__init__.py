"""The one door for bytes: videos, pictures and arrays in and out. uint8 lives here, [-1, 1] everywhere else."""

from longvie.media.convert import adapt_frames, exact_rate, resample_indices, resize_frames, to_bytes, to_unit
from longvie.media.files import open_regular, private_copy, replace_atomically, write_bytes_atomically
from longvie.media.pictures import read_grey16, read_picture, write_picture
from longvie.media.video import VideoFrames, VideoInfo, iter_video, probe_video, read_video
from longvie.media.writer import VideoWriter, join_segments

__all__ = [
    "VideoFrames",
    "VideoInfo",
    "VideoWriter",
    "adapt_frames",
    "exact_rate",
    "iter_video",
    "join_segments",
    "open_regular",
    "private_copy",
    "probe_video",
    "read_grey16",
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
