"""The table: every baseline makes every item, all of it is measured, and the same command goes on."""

from pathlib import Path

import numpy as np
import pytest

from longvie.errors import ConfigError
from longvie.evaluation import table as tables
from longvie.evaluation.baselines import MAKERS, Order, maker
from longvie.evaluation.make import make
from longvie.evaluation.results import Results
from longvie.evaluation.suite import Manifest
from longvie.evaluation.table import Wanted, page, table
from longvie.media import probe_video, read_picture, read_video

SECONDS = 6


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """One world of six seconds, a clip and a bit."""
    folder = tmp_path_factory.mktemp("table") / "suite"
    return folder, make(folder, videos=1, seconds=SECONDS, size=(32, 48))


@pytest.mark.parametrize("name", [*MAKERS, "history-0", "renormalised", "live-clear", "live-no-sink"])
def test_every_maker_makes_a_video_of_the_items_length(suite: tuple[Path, Manifest], name: str, tmp_path: Path) -> None:
    folder, manifest = suite
    item = manifest.items[0]
    maker(name).make(Order(folder, item, "tiny"), tmp_path / "v.mp4")
    info = probe_video(tmp_path / "v.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (item.frames, 32, 48, 16)


def test_baselines_show_what_they_say(suite: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = suite
    order = Order(folder, manifest.items[0], "tiny")
    for name in ("frozen", "nearest"):
        maker(name).make(order, tmp_path / f"{name}.mp4")
    frozen, nearest = (read_video(tmp_path / f"{name}.mp4").astype(int) for name in ("frozen", "nearest"))
    first = read_picture(order.file("first.png"))
    assert np.abs(frozen - first).mean((1, 2, 3)).max() < 4
    assert np.abs(nearest[0] - first).mean() < 4
    truth = read_video(order.file("truth.mp4")).astype(int)
    assert np.abs(nearest - truth).mean() <= np.abs(frozen - truth).mean() + 0.5


@pytest.mark.parametrize(("usual", "other"), [("model", "history-0"), ("live", "live-no-sink")])
def test_what_is_otherwise_in_an_ablation_changes_what_comes_later(
    suite: tuple[Path, Manifest], tmp_path: Path, usual: str, other: str
) -> None:
    folder, manifest = suite
    order = Order(folder, manifest.items[0], "tiny")
    for name in (usual, other):
        maker(name).make(order, tmp_path / f"{name}.mp4")
    own, made = (read_video(tmp_path / f"{name}.mp4").astype(int) for name in (usual, other))
    assert np.array_equal(own[:9], made[:9]) and not np.array_equal(own[81:], made[81:])


def test_an_unknown_maker_is_named() -> None:
    with pytest.raises(ConfigError, match="no maker 'magic'; there are renderer"):
        maker("magic")


@pytest.fixture(scope="module")
def made(suite: tuple[Path, Manifest]) -> tuple[Wanted, Manifest, dict[str, Results]]:
    folder, manifest = suite
    wanted = Wanted(folder.parent, folder, ("renderer", "frozen"), ("similarity", "temporal"), "tiny")
    return wanted, manifest, table(wanted, manifest)


def test_the_renderer_is_the_ceiling(made: tuple[Wanted, Manifest, dict[str, Results]]) -> None:
    _, _, found = made
    ssim = {name: results.suite["ssim"]["mean"] for name, results in found.items()}
    assert ssim["renderer"] > 0.999 > ssim["frozen"]
    assert found["frozen"].suite["guard.frozen"]["mean"] > 0.95


def test_what_is_there_is_not_made_again(
    made: tuple[Wanted, Manifest, dict[str, Results]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, manifest, found = made
    monkeypatch.setattr(tables, "make_one", lambda task: pytest.fail(f"{task} is made again"))
    again = table(wanted, manifest)
    assert again["frozen"].suite == found["frozen"].suite


def test_the_page_says_numbers_intervals_and_where_they_are_from(
    made: tuple[Wanted, Manifest, dict[str, Results]],
) -> None:
    _, manifest, found = made
    text = page(found, manifest, "longvie eval table --out table")
    assert manifest.sha256[:16] in text and "longvie eval table --out table" in text
    row = next(line for line in text.splitlines() if "`ssim`" in line)
    assert row.count("|") == 4 and " 1 " in row
    assert "NaN" not in text and "None" not in text
