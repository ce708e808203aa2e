"""Moments of a video above the same moments of its truth."""

import base64
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from longvie.errors import LongVieError
from longvie.evaluation.markup import Markup, element
from longvie.evaluation.report.shown import Shown
from longvie.evaluation.sheet import sheet
from longvie.media import read_picture

MOMENTS, TALL = 6, 96  # columns of a sheet; pixels of a picture's height
SHEET_BYTES = 30_000  # of a sheet's JPEG; in base64 a third more, 40 kB
QUALITIES = (82, 70, 58, 46, 34)


def moments(shown: Shown, video: str) -> Markup:
    rows = {"made": shown.videos[video]} | ({"truth": shown.truths[video]} if video in shown.truths else {})
    try:
        data, times, (height, width) = drawn(rows)
    except LongVieError as reason:
        return element("p", f"No pictures: {reason}", class_="soft")
    alike = "above its truth" if "truth" in rows else "without truth"
    said = f"{video}, {len(times)} moments from {times[0]:.1f} to {times[-1]:.1f} s, {alike}"
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    picture = element("img", src=source, alt=said, width=str(width), height=str(height), loading="lazy")
    return element("div", picture, class_="scroll sheet", tabindex="0", role="region", aria_label=f"Moments of {video}")


def drawn(rows: Mapping[str, Path]) -> tuple[bytes, list[float], tuple[int, int]]:
    """A contact sheet as a JPEG of at most `SHEET_BYTES`, its seconds, and its height and width in pixels.

    Raises:
        MediaError: a video cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="longvie-") as folder:
        path = Path(folder) / "sheet.png"
        times = sheet(rows, path, moments=MOMENTS, height=TALL)
        pixels = read_picture(path)
    return jpeg(Image.fromarray(pixels)), times, pixels.shape[:2]


def jpeg(picture: Image.Image) -> bytes:
    """At most `SHEET_BYTES`: as fine as fits, and where nothing fits, smaller."""
    for quality in QUALITIES:
        held = io.BytesIO()
        picture.save(held, "JPEG", quality=quality, optimize=True)
        if held.tell() <= SHEET_BYTES:
            return held.getvalue()
    return jpeg(picture.resize((max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4))))
