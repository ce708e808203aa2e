"""Folders that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longvie.media.files import room_for


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to write into; renamed to `path` at the end, removed after an error.

    Raises:
        ResourceError: no room, or the folder above cannot be written.
    """
    with room_for(0, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
    try:
        yield part
        with room_for(0, path.parent):
            part.rename(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
