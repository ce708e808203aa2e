"""What we accept, as numbers: each ceiling has a name, a unit, a default and one error."""

from dataclasses import dataclass, fields

from longvie.errors import ConfigError, LimitError

MIB = 2**20
GIB = 2**30

UNITS = {
    "file_bytes": "bytes on disk",
    "metadata_bytes": "bytes of metadata",
    "picture_bytes": "bytes on disk",
    "picture_pixels": "pixels",
    "video_pixels": "pixels in a frame",
    "frames": "frames",
    "seconds": "seconds",
    "frames_per_second": "frames a second",
    "decoded_bytes": "decoded bytes",
    "array_bytes": "bytes in memory at once",
    "points": "points",
    "document_bytes": "bytes of text",
    "yaml_bytes": "bytes of text",
    "yaml_aliases": "aliases",
    "document_depth": "levels of nesting",
    "document_items": "items",
}


@dataclass(frozen=True)
class Limits:
    """Ceilings on what comes in, checked by what a file declares and again by what really comes out of it.

    The defaults suit one person's own machine. A service for strangers uses `UPLOADS` or its own.
    """

    file_bytes: int = 8 * GIB
    metadata_bytes: int = MIB  # text, colour profile or EXIF inside a picture
    picture_bytes: int = 64 * MIB
    picture_pixels: int = 16 * MIB  # 4096×4096
    video_pixels: int = 9 * MIB  # 4K is 8.3 million
    frames: int = 60_000  # an hour at 16 frames a second
    seconds: int | float = 3_000.0
    frames_per_second: int | float = 1000
    decoded_bytes: int = 64 * GIB  # 8-bit RGB that one opened file may be decoded into, over its whole life
    array_bytes: int = GIB  # what one call may hand back
    points: int = 100_000
    document_bytes: int = 8 * MIB
    yaml_bytes: int = MIB // 4  # its parser is slow
    yaml_aliases: int = 100
    document_depth: int = 32
    document_items: int = 1_000_000

    def __post_init__(self) -> None:
        for field in fields(self):
            ceiling = getattr(self, field.name)
            if isinstance(ceiling, bool) or not 0 < ceiling < float("inf"):
                raise ConfigError(f"limit '{field.name}' is {ceiling}; it must be a finite number above 0")

    def check(self, name: str, came: int | float, what: str) -> None:
        """Refuse `what` when it brings more than the ceiling called `name`.

        Raises:
            LimitError: says what came and what is accepted. NaN counts as too much.
        """
        ceiling = getattr(self, name)
        if not came <= ceiling:
            number = f"{came:,}" if isinstance(came, int) else f"{came:,.4g}"
            raise LimitError(
                f"{what}: {number} {UNITS[name]}, at most {ceiling:,} are accepted; make it smaller or raise '{name}'"
            )


LOCAL = Limits()
UPLOADS = Limits(file_bytes=256 * MIB, frames=10_000, seconds=620.0, decoded_bytes=16 * GIB, array_bytes=256 * MIB)
