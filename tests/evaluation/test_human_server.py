"""What a browser is sent and what it may send; the page itself in a real browser, where there is one."""

import base64
import http.client
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from longvie.cli.human import app
from longvie.errors import InputError, LimitError, ResourceError
from longvie.evaluation.human.server import BODY, PAGE, StudyServer, byte_range, read_vote
from longvie.evaluation.human.study import ASPECTS, Study, make
from longvie.evaluation.human.votes import Votes
from longvie.media import VideoWriter

SIZE = (48, 64)
NAMES = ("secretone", "secrettwo", "secretthree")
BROWSERS = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


def clip(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=8, size=SIZE, fragmented=False) as out:
        out.write(np.full((8, *SIZE, 3), grey, np.uint8))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of three systems and a condition, for two tasks."""
    root = tmp_path_factory.mktemp("sources")
    for number, name in enumerate((*NAMES, "given")):
        for task in range(2):
            clip(root / name / f"scene{task}.mp4", 30 + 40 * number + 10 * task)
    return root


@pytest.fixture(scope="module")
def drafted(sources: Path) -> Study:
    prompts = {"scene0": "a <b>red</b> ball & a cube", "scene1": "a blue ball"}
    systems = {name: sources / name for name in NAMES}
    return make(sources / "study", systems, raters=2, prompts=prompts, conditions=sources / "given")


@pytest.fixture
def server(drafted: Study, tmp_path: Path) -> Iterator[StudyServer]:
    """A server at work on a study without votes."""
    shutil.copytree(drafted.folder, tmp_path / "study")
    with StudyServer(Study.open(tmp_path / "study"), port=0) as server:
        worker = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        worker.start()
        yield server
        server.shutdown()
        worker.join()


def where(server: StudyServer) -> tuple[str, int]:
    host, port = server.server_address[:2]
    return str(host), port


def ask(
    server: StudyServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Exactly this request: `http.client` neither follows nor tidies a path."""
    line = http.client.HTTPConnection(*where(server), timeout=10)
    try:
        line.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = line.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        line.close()


def task(server: StudyServer, rater: int = 0, at: int | None = None) -> dict[str, Any]:
    code = server.study.raters[rater].code
    status, _, body = ask(server, "GET", f"/task/{code}" + ("" if at is None else f"?at={at}"))
    assert status == 200
    return json.loads(body)


def vote(server: StudyServer, value: Any) -> tuple[int, dict[str, Any]]:
    status, _, body = ask(server, "POST", "/vote", json.dumps(value).encode(), Content_Type="application/json")
    return status, json.loads(body)


def test_it_listens_on_this_machine_alone_unless_told_otherwise(server: StudyServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(ResourceError, match="port"):
        StudyServer(server.study, port=server.server_address[1])


def test_a_rater_goes_through_all_tasks(server: StudyServer) -> None:
    code = server.study.raters[0].code
    for done in range(2):
        now = task(server)
        assert (now["finished"], now["at"], now["done"], now["total"]) == (False, done, done, 2)
        assert [one["name"] for one in now["aspects"]] == list(ASPECTS)
        rankings = {one["name"]: now["videos"][::-1] for one in now["aspects"]}
        assert vote(server, {"rater": code, "task": now["task"], "rankings": rankings}) == (
            200,
            {"saved": 5, "changed": 5},
        )
        assert vote(server, {"rater": code, "task": now["task"], "rankings": rankings})[1]["changed"] == 0
        assert task(server, at=done)["rankings"] == rankings
    assert task(server) == {"total": 2, "done": 2, "finished": True}
    assert task(server, rater=1)["done"] == 0
    assert len(server.votes.all()) == 10


def test_nothing_sent_to_a_browser_tells_whose_a_video_is(server: StudyServer) -> None:
    now = task(server)
    code = server.study.raters[0].code
    asked = [("GET", "/"), ("GET", "/nowhere"), ("GET", "/task/secretone"), ("POST", "/vote"), ("PUT", "/vote")]
    asked += [("GET", f"/task/{code}?at={at}") for at in ("0", "1", "2", "x")]
    asked += [("GET", f"/video/{token}") for token in (*now["videos"], now["condition"])]
    for method, path in asked:
        _, headers, body = ask(server, method, path)
        sent = repr(headers).encode() + body
        for hidden in (*NAMES, "longvie", "scene0", "scene1", str(server.study.folder), "study.json"):
            assert hidden.encode() not in sent.lower(), (path, hidden)
        assert "Last-Modified" not in headers


def test_the_page_needs_nothing_from_elsewhere(server: StudyServer) -> None:
    status, headers, body = ask(server, "GET", "/?rater=abc")
    assert status == 200
    assert body == PAGE.read_bytes()
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    text = body.decode()
    assert not re.search(r"https?://|//\w|@import|<script src|<link rel=.stylesheet", text)
    assert "innerHTML" not in text, "a prompt is text and never markup"


def test_videos_come_whole_or_in_parts(server: StudyServer) -> None:
    token = task(server)["videos"][0]
    whole = server.study.video(token).read_bytes()
    path, size = f"/video/{token}", len(whole)
    status, headers, body = ask(server, "GET", path)
    assert (status, body, headers["Accept-Ranges"]) == (200, whole, "bytes")
    assert headers["Content-Type"] == "video/mp4"
    for asked, part in (
        ("bytes=0-0", whole[:1]),
        ("bytes=10-99", whole[10:100]),
        ("bytes=100-", whole[100:]),
        ("bytes=-7", whole[-7:]),
        (f"bytes=5-{size * 9}", whole[5:]),
        (f"bytes=-{size * 9}", whole),
    ):
        status, headers, body = ask(server, "GET", path, Range=asked)
        assert (status, body) == (206, part), asked
        first = size - len(part) if asked.startswith("bytes=-") or asked.endswith("-") else whole.index(part[:40])
        if len(part) > 40:
            assert headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
    for outside in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}", "bytes=-0"):
        status, headers, _ = ask(server, "GET", path, Range=outside)
        assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    for ignored in ("bytes=5-2", "bytes=0-1,4-5", "lines=0-5", "bytes=-", "bytes=a-b", "bytes=" + "9" * 40 + "-"):
        assert ask(server, "GET", path, Range=ignored)[0] == 200, ignored
    status, headers, body = ask(server, "HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, str(size), b"")


def test_ranges_are_parts_of_the_file() -> None:
    assert byte_range("", 10) is None
    assert byte_range("bytes=2-4", 10) == range(2, 5)
    assert not byte_range("bytes=0-", 0)


@pytest.mark.parametrize(
    "path",
    [
        "/video/../study.json",
        "/video/..%2f..%2fstudy.json",
        "/video/%2e%2e/votes.sqlite",
        "/../../../../etc/passwd",
        "/study.json",
        "/votes.sqlite",
        "/videos/",
        "/video/",
        "/video/" + "0" * 32,
        "/video//etc/passwd",
        "/video/..\\..\\study.json",
        "/task/",
        "/task/..",
        "/task/../../x",
        "/nowhere",
        "/[//x",
    ],
)
def test_no_path_leads_out_of_the_study(server: StudyServer, path: str) -> None:
    status, _, body = ask(server, "GET", path)
    assert status == 404
    assert json.loads(body)["error"]["code"] in ("not_found", "rater_unknown")


def test_a_link_in_the_place_of_a_video_is_not_followed(server: StudyServer, tmp_path: Path) -> None:
    token = task(server)["videos"][0]
    (tmp_path / "private").write_text("private")
    server.study.video(token).unlink()
    server.study.video(token).symlink_to(tmp_path / "private")
    status, _, body = ask(server, "GET", f"/video/{token}")
    assert status == 422
    assert b"private" not in body


def test_what_is_no_vote_is_refused_in_json(server: StudyServer) -> None:
    now, code = task(server), server.study.raters[0].code
    good = {"rater": code, "task": now["task"], "rankings": {"visual": now["videos"]}}
    one, two, three = now["videos"]
    for status, name, changes in (
        (404, "rater_unknown", {"rater": "0" * 16}),
        (404, "task_unknown", {"task": 99}),
        (422, "vote_invalid", {"task": True}),
        (422, "vote_invalid", {"task": "0"}),
        (422, "vote_invalid", {"more": 1}),
        (422, "vote_invalid", {"rankings": {}}),
        (422, "vote_invalid", {"rankings": {"visual": one}}),
        (422, "vote_invalid", {"rankings": {"visual": [1, 2, 3]}}),
        (422, "vote_invalid", {"rankings": {"visual": [one, two]}}),
        (422, "vote_invalid", {"rankings": {"visual": [one, two, two]}}),
        (422, "vote_invalid", {"rankings": {"visual": [one, two, now["condition"]]}}),
        (422, "vote_invalid", {"rankings": {"beauty": [one, two, three]}}),
    ):
        found, answer = vote(server, good | changes)
        assert (found, answer["error"]["code"]) == (status, name), changes
        assert answer["error"]["message"]
    assert vote(server, [good])[0] == 422
    for body, kind, status in (
        (b"{", "application/json", 400),
        (b'{"rater": "a", "rater": "b"}', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 500 + b"]" * 500, "application/json", 413),
        (json.dumps(good).encode(), "text/plain", 415),
    ):
        assert ask(server, "POST", "/vote", body, Content_Type=kind)[0] == status
    assert ask(server, "POST", "/video/" + one, b"{}", Content_Type="application/json")[0] == 404
    assert ask(server, "GET", "/vote")[0] == 405
    status, _, body = ask(server, "DELETE", "/vote")
    assert (status, json.loads(body)["error"]["code"]) == (501, "request_wrong")
    assert server.votes.all() == []


def test_bodies_that_are_too_large_or_have_no_length_are_refused(server: StudyServer) -> None:
    for size in (BODY + 1, 300_000):
        status, _, body = ask(server, "POST", "/vote", b" " * size, Content_Type="application/json")
        assert (status, json.loads(body)["error"]["code"]) == (413, "limit_exceeded")
    for length, status in (("-5", 411), ("x", 411), ("", 411)):
        with socket.create_connection(where(server), timeout=10) as line:
            line.sendall(f"POST /vote HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
            assert line.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())
    with pytest.raises(LimitError):
        read_vote(b" " * (BODY + 1))
    with pytest.raises(InputError):
        read_vote(b"{}")


def test_a_connection_serves_many_requests_and_may_break_off(server: StudyServer) -> None:
    line = http.client.HTTPConnection(*where(server), timeout=10)
    token = task(server)["videos"][0]
    for _ in range(3):
        line.request("GET", f"/video/{token}", headers={"Range": "bytes=0-9"})
        assert len(line.getresponse().read()) == 10
    line.request("GET", f"/video/{token}")
    line.close()
    assert task(server)["total"] == 2


def test_the_commands_make_and_score(sources: Path, tmp_path: Path) -> None:
    out, told = tmp_path / "study", CliRunner()
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("scene0: a ball\nscene1: a cube\n")
    systems = [f"--system={name}={sources / name}" for name in NAMES]
    options = [f"--prompts={prompts}", f"--conditions={sources / 'given'}", "--raters=2", "--quiet"]
    done = told.invoke(app, ["make", str(out), *systems, *options])
    assert done.exit_code == 0, done.output
    assert "3 systems, 2 tasks, 2 raters" in done.output
    empty = told.invoke(app, ["score", str(out)])
    assert isinstance(empty.exception, InputError)
    study = Study.open(out)
    first = study.tasks[0].videos
    for rater in study.raters:
        Votes(study).cast(rater.code, 0, {"visual": first})
    done = told.invoke(app, ["score", str(out), "--resamples=20", f"--out={tmp_path / 'score.json'}"])
    assert done.exit_code == 0, done.output
    assert "Visual quality: 2 rankings by 2 raters" in done.output
    assert "nobody has ranked by this aspect yet" in done.output
    kept = json.loads((tmp_path / "score.json").read_text())
    assert kept["study"] == study.id
    assert [one["system"] for one in kept["aspects"]["visual"]["standings"]] == list(NAMES)
    assert json.loads(told.invoke(app, ["score", str(out), "--resamples=20", "--json"]).output) == kept


def test_the_command_make_takes_a_mapping_and_refuses_half_of_one(sources: Path, tmp_path: Path) -> None:
    mapping = sources / "systems.json"
    mapping.write_text(json.dumps({"one": {"x": "secretone/scene0.mp4"}, "two": {"x": "secrettwo/scene1.mp4"}}))
    told = CliRunner()
    options = ["--aspects=visual,colour", "--raters=1", "--quiet"]
    assert told.invoke(app, ["make", str(tmp_path / "a"), f"--systems={mapping}", *options]).exit_code == 0
    assert Study.open(tmp_path / "a").systems == ("one", "two")
    for wrong in (
        [],
        [f"--systems={mapping}", "--system=a=b"],
        ["--system=a"],
        ["--system==b"],
        ["--system=a=x", "--system=a=y"],
    ):
        done = told.invoke(app, ["make", str(tmp_path / "b"), *wrong, *options])
        assert isinstance(done.exception, InputError), wrong
    mapping.write_text(json.dumps({"one": 1, "two": "x"}))
    done = told.invoke(app, ["make", str(tmp_path / "b"), f"--systems={mapping}", *options])
    assert isinstance(done.exception, InputError)


ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # of the protocol
KEYS = {"Enter": "\ue007", "Backspace": "\ue003"}


class Browser:
    """A real browser by the WebDriver protocol (W3C), over plain HTTP."""

    def __init__(self, address: str) -> None:
        self.address = address
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"]
        flags += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync"]
        options = {"args": flags, "binary": shutil.which("chromium")}
        found = self._send("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        self.session = f"/session/{found['sessionId']}"

    def _send(self, method: str, path: str, value: Any = None) -> Any:
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())["value"]

    def open(self, address: str) -> None:
        self._send("POST", f"{self.session}/url", {"url": address})

    def close(self) -> None:
        self._send("DELETE", self.session)

    def script(self, text: str) -> Any:
        return self._send("POST", f"{self.session}/execute/sync", {"script": text, "args": []})

    def picture(self) -> bytes:
        return base64.b64decode(self._send("GET", f"{self.session}/screenshot"))

    def click(self, css: str) -> None:
        found = self._send("POST", f"{self.session}/element", {"using": "css selector", "value": css})
        self._send("POST", f"{self.session}/element/{found[ELEMENT]}/click", {})

    def press(self, *keys: str) -> None:
        moves = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._send("POST", f"{self.session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": moves}]})

    def until(self, text: str, seconds: float = 30.0) -> Any:
        """What a script returns as soon as that is not false."""
        end = time.monotonic() + seconds
        while not (found := self.script(text)):
            assert time.monotonic() < end, f"never true: {text}; the page says: {self.script(SAYS)}"
            time.sleep(0.05)
        return found


SAYS = "return document.body.innerText"


@contextmanager
def browser() -> Iterator[Browser]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=said, stderr=said)
        try:
            _wait_for(f"http://127.0.0.1:{port}/status")
            found = Browser(f"http://127.0.0.1:{port}")
            try:
                yield found
            finally:
                found.close()
        finally:
            driver.terminate()
            driver.wait(10)


def _wait_for(address: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError("chromedriver did not start")


@pytest.mark.skipif(bool(BROWSERS), reason=f"not installed: {', '.join(BROWSERS)}")
def test_a_person_ranks_by_keys_and_mouse_and_the_votes_are_kept(server: StudyServer) -> None:
    rater = server.study.raters[0]
    first, second = (server.study.order(rater, number) for number in rater.tasks)
    with browser() as person:
        person.open(f"{server.address}?rater={rater.code}")
        person.until("return document.querySelectorAll('figure[data-number]').length === 3")
        shown = person.script("return document.getElementById('prompt').innerText")
        assert shown == f"Text: {server.study.tasks[rater.tasks[0]].prompt}", "markup in a prompt is shown as text"
        person.until("return performance.getEntriesByType('resource').length >= 5")  # not told while on their way
        loaded = "[...document.querySelectorAll('video')]"
        person.until(f"return {loaded}.every(v => v.readyState >= 3 && v.videoWidth === {SIZE[1]})")
        person.press(" ")
        person.until(f"return {loaded}.length === 4 && {loaded}.every(v => v.currentTime > 0.1)")
        person.press(" ")
        person.until(f"return {loaded}.every(v => v.paused)")
        # Visual quality by keys, with second thoughts; the last place fills itself.
        person.press("1", "Backspace", "2", "1", "Enter")
        # The next one by mouse: Enter then goes on, and does not press the last button again. The others by keys.
        person.click("figure[data-number='2'] .pick")
        person.click("figure[data-number='0'] video")
        person.press("Enter", "3", "2", "Enter", "1", "2", "Enter", "1", "3")
        assert server.votes.all() == []
        person.click("#next")
        person.until("return document.getElementById('count').textContent === 'Task 2 of 2'")
        given = {
            aspect: [first.index(token) for token in ranking]
            for aspect, ranking in server.votes.of(rater.code, rater.tasks[0]).items()
        }
        assert given == dict(zip(ASPECTS, ([1, 0, 2], [2, 0, 1], [2, 1, 0], [0, 1, 2], [0, 2, 1]), strict=True))
        # What was saved is there again on the way back.
        person.click("#before")
        person.until("return document.getElementById('count').textContent === 'Task 1 of 2'")
        assert person.script("return document.querySelector('.aspects .order').textContent") == "✓ 2 › 1 › 3"
        person.press("Enter")
        person.until("return document.getElementById('count').textContent === 'Task 2 of 2'")
        person.press(*("1", "2", "Enter") * 5)
        person.until("return document.getElementById('headline').textContent === 'Thank you!'")
    assert server.votes.of(rater.code, rater.tasks[1]) == dict.fromkeys(ASPECTS, second)
    assert server.votes.finished(rater.code) == set(rater.tasks)
