"""Sizes have names and units: the one place that divides by 4 or 8."""

from dataclasses import dataclass

from longvie.errors import ShapeError


@dataclass(frozen=True)
class Strides:
    """How many frames and pixels one latent cell stands for."""

    time: int = 4
    space: int = 8


@dataclass(frozen=True)
class LatentShape:
    """A video in latent frames and latent cells."""

    frames: int
    height: int
    width: int

    def video(self, strides: Strides = Strides()) -> "VideoShape":
        """The first latent frame holds one frame, each later one `strides.time` frames."""
        frames = (self.frames - 1) * strides.time + 1
        return VideoShape(frames, self.height * strides.space, self.width * strides.space)


@dataclass(frozen=True)
class VideoShape:
    """A video in frames and pixels."""

    frames: int
    height: int
    width: int

    def latent(self, strides: Strides = Strides()) -> LatentShape:
        """Size after encoding.

        Raises:
            ShapeError: the frames end inside a latent frame, or the pixels inside a cell.
        """
        extra = (self.frames - 1) % strides.time
        if self.frames < 1 or extra:
            raise ShapeError(f"{self.frames} frames end inside a latent frame; use {max(1, self.frames - extra)}")
        if self.height % strides.space or self.width % strides.space:
            raise ShapeError(f"{self.height}×{self.width} pixels do not divide by {strides.space}")
        return LatentShape(
            (self.frames - 1) // strides.time + 1, self.height // strides.space, self.width // strides.space
        )


def fit_frames(frames: int, strides: Strides = Strides()) -> int:
    """The smallest whole number of latent frames that holds `frames` frames, in frames: 1 + time·k."""
    return 1 + -(-(max(frames, 1) - 1) // strides.time) * strides.time
