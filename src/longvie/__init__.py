"""Direct a video for as long as you like.

The names below are loaded when they are first used, so that `import longvie` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longvie.api import LongVie, Video, VideoChunk
    from longvie.errors import LongVieError
    from longvie.presets import LongVieConfig

__all__ = ["LongVie", "LongVieConfig", "LongVieError", "Video", "VideoChunk"]
__version__ = "0.1.0"

_HOMES = {
    "LongVie": "longvie.api",
    "LongVieConfig": "longvie.presets",
    "LongVieError": "longvie.errors",
    "Video": "longvie.api",
    "VideoChunk": "longvie.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'longvie' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
