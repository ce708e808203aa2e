"""The search for official weights, in folders made for it: order, hashes, and what the user is told."""

import hashlib
import re
import socket
from pathlib import Path

import pytest

from longvie.errors import ConfigError
from longvie.evaluation import weights as locator
from longvie.evaluation.metric import Weights
from longvie.evaluation.weights import OFFICIAL, VARIABLE, folders, locate

CONTENT = b"weights of a network" * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without weights. Returns the cache folder in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache = tmp_path / "home" / ".cache" / "longvie" / "eval"
    cache.mkdir(parents=True)
    return cache


def wanted(file: str = "net.pth", sha256: str = HASH) -> Weights:
    return Weights(file, sha256, "MIT", "https://example.org/net")


def put(folder: Path, file: str = "net.pth", content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(content)
    return folder / file


def test_a_missing_file_comes_with_what_to_do(home: Path, tmp_path: Path) -> None:
    (found,) = locate([wanted()])
    assert (found.status, found.path, found.weights) == ("missing", None, wanted())
    for needed in ("net.pth is missing", "https://example.org/net", "licence: MIT", f"put it into {home}"):
        assert needed in found.sentence
    (elsewhere,) = locate([wanted()], tmp_path)
    assert f"put it into {tmp_path};" in elsewhere.sentence and str(home) in elsewhere.sentence


def test_a_right_file_is_found(home: Path) -> None:
    path = put(home)
    (found,) = locate([wanted()])
    assert (found.status, found.path, found.checked) == ("found", path, "sha256")
    assert "SHA-256 as expected" in found.sentence


def test_a_hash_may_be_written_in_capitals(home: Path) -> None:
    put(home)
    assert locate([wanted(sha256=HASH.upper())])[0].status == "found"


def test_a_wrong_file_is_named_with_both_hashes(home: Path) -> None:
    path = put(home, content=b"something else")
    (found,) = locate([wanted()])
    assert (found.status, found.path, found.checked) == ("wrong hash", path, "sha256")
    for needed in (HASH, hashlib.sha256(b"something else").hexdigest(), "download it anew", "licence: MIT"):
        assert needed in found.sentence


def test_without_an_official_hash_nothing_is_checked_and_it_says_so(home: Path) -> None:
    path = put(home, content=b"whatever")
    (found,) = locate([wanted(sha256="")])
    assert (found.status, found.path, found.checked) == ("found", path, "none")
    assert "hash unknown, not checked" in found.sentence


def test_a_name_that_carries_the_beginning_of_a_hash_is_checked_by_it(home: Path) -> None:
    right, wrong = f"net-{HASH[:8]}.pth", "musiq_spaq_ckpt-358bb6af.pth"
    put(home, right)
    put(home, wrong)
    first, second = locate([wanted(right, ""), wanted(wrong, "")])
    assert (first.status, first.checked) == ("found", "prefix")
    assert "first 8 digits of SHA-256 as expected" in first.sentence
    assert (second.status, second.checked) == ("wrong hash", "prefix")
    assert f"begins with {HASH[:8]}, not with 358bb6af" in second.sentence


def test_a_whole_hash_outweighs_the_beginning_in_the_name(home: Path) -> None:
    put(home, "net-358bb6af.pth")
    (found,) = locate([wanted("net-358bb6af.pth", HASH)])
    assert (found.status, found.checked) == ("found", "sha256")


def test_folders_are_searched_in_order(home: Path, tmp_path: Path) -> None:
    given, named = tmp_path / "given", tmp_path / "named"
    paths = [put(folder) for folder in (given, named, home)]
    assert folders(given, named) == (given, named, home)
    assert folders(named=named) == (named, home)
    for path in paths:
        assert locate([wanted()], given, named)[0].path == path
        path.unlink()
    assert locate([wanted()], given, named)[0].status == "missing"


def test_a_wrong_file_does_not_hide_a_right_one(home: Path, tmp_path: Path) -> None:
    wrong, right = put(tmp_path / "given", content=b"old"), put(home)
    (found,) = locate([wanted()], tmp_path / "given")
    assert (found.status, found.path) == ("found", right)
    right.write_bytes(b"older")  # of two wrong ones, the first is named
    (found,) = locate([wanted()], tmp_path / "given")
    assert (found.status, found.path) == ("wrong hash", wrong)


def test_folders_may_begin_at_home(home: Path) -> None:
    path = put(Path.home() / "mine")
    assert locate([wanted()], Path("~/mine"))[0].path == path
    assert locate([wanted()], named=Path("~/mine"))[0].path == path
    assert folders() == (home,)


def test_a_folder_of_that_name_is_no_file(home: Path) -> None:
    (home / "net.pth").mkdir()
    assert locate([wanted()])[0].status == "missing"


def test_each_is_reported_in_the_order_asked(home: Path) -> None:
    put(home, "b.pth")
    found = locate([wanted("a.pth"), wanted("b.pth"), wanted("c.pth", "")])
    assert [one.weights.file for one in found] == ["a.pth", "b.pth", "c.pth"]
    assert [one.status for one in found] == ["missing", "found", "missing"]
    assert locate([]) == ()


def test_nothing_is_ever_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    found = locate(list(OFFICIAL.values()))
    assert {one.status for one in found} == {"missing"}
    assert list(home.iterdir()) == []


def test_large_files_are_read_in_pieces(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(home)
    monkeypatch.setattr(locator, "CHUNK", 7)
    assert locator.sha256(path) == HASH


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_weights_say_what_they_are(name: str) -> None:
    weights = OFFICIAL[name]
    assert weights.licence and weights.source.startswith("https://")
    assert weights.sha256 == "" or re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
    # a hash that is part of the file's name or address is the one that is written down
    prefix = locator.IN_NAME.search(weights.file)
    assert not prefix or not weights.sha256 or weights.sha256.startswith(prefix.group(1))
    in_address = re.search(r"[0-9a-f]{64}", weights.source)
    assert not in_address or weights.sha256 == in_address.group()


def test_programs_are_never_taken_on_trust() -> None:
    """TorchScript archives are programs: whoever loads one must know its hash."""
    assert all(OFFICIAL[name].sha256 for name in ("clip-b32", "clip-l14", "i3d-stylegan-v"))


def test_what_is_found_is_said_by_official_name(home: Path) -> None:
    (home / "dino_vitbase16_pretrain.pth").write_bytes(CONTENT)
    (home / "alex.pth").write_bytes(CONTENT)  # with another hash than the official one
    assert locator.found() == {"dino": str(home / "dino_vitbase16_pretrain.pth")}


@pytest.mark.usefixtures("home")
def test_folders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        locate([wanted()], tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=VARIABLE):
        locate([wanted()], named=tmp_path / "nowhere")


@pytest.mark.usefixtures("home")
def test_names_and_hashes_that_are_none_are_refused() -> None:
    for file in ("../net.pth", "sub/net.pth", "/etc/passwd", "..", ""):
        with pytest.raises(ConfigError, match="by name, not by path"):
            locate([wanted(file)])
    for sha256 in ("abc", "z" * 64, HASH + "0"):
        with pytest.raises(ConfigError, match="not a SHA-256"):
            locate([wanted(sha256=sha256)])
