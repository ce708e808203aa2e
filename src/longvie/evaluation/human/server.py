"""The page, its tasks and videos, and the votes over HTTP: a small server for one study, on this machine by default.

    GET  /                     the page; the rater's code is in its address, `/?rater=CODE`
    GET  /task/CODE[?at=N]     the next task of a rater, or the N-th, as JSON
    GET  /video/TOKEN          a video, whole or a range of bytes
    POST /vote                 {"rater": CODE, "task": N, "rankings": {aspect: [token, best first]}}

Nothing that is sent names a system, a file or a folder. Errors are JSON: {"error": {"code", "message"}}.
"""

import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs

from longvie.documents import read_json
from longvie.errors import InputError, LimitError, LongVieError, ResourceError
from longvie.evaluation.human.study import ASPECTS, TOKEN, Study
from longvie.evaluation.human.votes import Votes
from longvie.limits import Limits
from longvie.media.files import file_size, open_regular

PAGE = Path(__file__).with_name("page.html")
HOST, PORT = "127.0.0.1", 8765
BODY = 16_384  # bytes of a vote; nine tokens by five aspects are 1.7 kB
DRAINED = 1 << 20  # bytes of a refused body that are read, so that the answer arrives before the connection ends
BLOCK = 1 << 18  # bytes of a video read at a time
SILENCE = 60  # seconds until a connection that says nothing is closed
STATUS = {
    "not_found": HTTPStatus.NOT_FOUND,
    "rater_unknown": HTTPStatus.NOT_FOUND,
    "task_unknown": HTTPStatus.NOT_FOUND,
    "method_unknown": HTTPStatus.METHOD_NOT_ALLOWED,
    "length_missing": HTTPStatus.LENGTH_REQUIRED,
    "type_wrong": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "not_json": HTTPStatus.BAD_REQUEST,
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address of the page holds the rater's code
    "X-Content-Type-Options": "nosniff",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_VOTE = Limits(document_bytes=BODY, document_depth=4, document_items=200)
_log = logging.getLogger(__name__)


class StudyServer(ThreadingHTTPServer):
    """Serves one study until `shutdown`; a thread for each connection.

    Args:
        port: 0 for any that is free; `address` says which.

    Raises:
        InputError: the votes beside the study are not its own.
        ResourceError: the address is taken or may not be used.
    """

    daemon_threads = True

    def __init__(self, study: Study, *, host: str = HOST, port: int = PORT) -> None:
        self.study, self.votes = study, Votes(study)
        self.tokens = study.tokens()
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as reason:
            raise ResourceError(f"port {port} of {host} cannot be used ({reason}); give another --port") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class says how
        """Browsers drop connections all the time while they seek; that is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            _log.exception("a connection ended by a fault of ours")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = SILENCE
    server: StudyServer

    def do_GET(self) -> None:
        """Page, task or video."""
        self._answer(self._get)

    def do_HEAD(self) -> None:
        """The same without the body."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """A vote."""
        self._answer(self._post)

    def version_string(self) -> str:
        """What the header `Server` says; our own name could be that of a system."""
        return "study"

    def log_message(self, format: str, *args: Any) -> None:
        """To the log, not to the terminal."""
        _log.debug(format, *args)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class finds wrong with a request, as JSON too, and without repeating what was sent."""
        self._refuse(HTTPStatus(code), "request_wrong", HTTPStatus(code).phrase)

    def _answer(self, work: Callable[[], None]) -> None:
        """Do the work, and say in JSON what is wrong."""
        try:
            work()
        except LongVieError as error:
            self._refuse(HTTPStatus(STATUS.get(error.code, error.status)), error.code, str(error))
        except (ConnectionError, TimeoutError):
            raise
        except Exception:
            _log.exception("a fault of ours")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "a fault of ours; try again")

    def _get(self) -> None:
        path, _, query = self.path.partition("?")
        match path.split("/")[1:]:
            case [""]:
                self._send(PAGE.read_bytes(), "text/html; charset=utf-8")
            case ["task", code]:
                self._json(task_of(self.server.study, self.server.votes, code, _number(query)))
            case ["video", token] if TOKEN.fullmatch(token) and token in self.server.tokens:
                self._video(token)
            case ["vote"]:
                raise InputError("votes are sent by POST", code="method_unknown")
            case _:
                raise InputError("there is nothing at this address", code="not_found")

    def _post(self) -> None:
        body = self._body()
        if self.path != "/vote":
            raise InputError("only votes are taken, at /vote", code="not_found")
        # A form on a foreign page can send text to this address, but not JSON by this name.
        if self.headers.get_content_type() != "application/json":
            raise InputError("send the vote as application/json", code="type_wrong")
        vote = read_vote(body)
        changed = self.server.votes.cast(*vote)
        self._json({"saved": len(vote[2]), "changed": changed})

    def _body(self) -> bytes:
        length = _length(self.headers.get("Content-Length", ""))
        if length is None:
            raise InputError("say the length of the vote in Content-Length", code="length_missing")
        if length > BODY:
            _copy(self.rfile, min(length, DRAINED), lambda _: None)
            raise LimitError(f"a vote has at most {BODY} bytes")
        return self.rfile.read(length)

    def _video(self, token: str) -> None:
        with closing(open_regular(self.server.study.video(token))) as file:
            size = file_size(file)
            span = byte_range(self.headers.get("Range", ""), size)
            if span is not None and not span:
                self._refuse(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    "range_outside",
                    f"the video has {size} bytes",
                    {"Content-Range": f"bytes */{size}"},
                )
                return
            headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600"}
            if span is not None:
                headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
            status = HTTPStatus.OK if span is None else HTTPStatus.PARTIAL_CONTENT
            part = range(size) if span is None else span
            self._head(status, "video/mp4", len(part), headers)
            if self.command != "HEAD":
                file.seek(part.start)
                _copy(file, len(part), self.wfile.write)

    def _json(self, value: dict[str, Any]) -> None:
        self._send(json.dumps(value, ensure_ascii=False).encode(), "application/json")

    def _send(self, body: bytes, kind: str) -> None:
        self._head(HTTPStatus.OK, kind, len(body), {"Cache-Control": "no-store"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: HTTPStatus, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        """An error; the connection ends, since what was sent may not have been read."""
        body = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False).encode()
        self.close_connection = True
        more = {"Cache-Control": "no-store", "Connection": "close", **(headers or {})}
        self._head(status, "application/json", len(body), more)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": kind, "Content-Length": str(length), **HEADERS, **headers}.items():
            self.send_header(name, text)
        self.end_headers()


def task_of(study: Study, votes: Votes, code: str, at: int | None = None) -> dict[str, Any]:
    """What the page shows: the `at`-th task of a rater (from 0), or the first that is not finished.

    Raises:
        InputError: no such rater or task (`rater_unknown`, `task_unknown`).
    """
    rater = study.rater(code)
    finished = votes.finished(code)
    facts: dict[str, Any] = {"total": len(rater.tasks), "done": len(finished)}
    if at is None:
        at = next((place for place, task in enumerate(rater.tasks) if task not in finished), None)
        if at is None:
            return facts | {"finished": True}
    if not 0 <= at < len(rater.tasks):
        raise InputError(f"there is no task {at}; this rater has {len(rater.tasks)}", code="task_unknown")
    number = rater.tasks[at]
    task = study.tasks[number]
    aspects = [ASPECTS[name] for name in study.aspects]
    return facts | {
        "finished": False,
        "at": at,
        "task": number,
        "prompt": task.prompt,
        "condition": task.condition,
        "videos": list(study.order(rater, number)),
        "aspects": [{"name": one.name, "title": one.title, "question": one.question} for one in aspects],
        "rankings": {aspect: list(ranking) for aspect, ranking in votes.of(code, number).items()},
    }


def read_vote(body: bytes) -> tuple[str, int, dict[str, list[str]]]:
    """Rater, task and rankings of a vote; whether they fit the study is seen when the vote is cast.

    Raises:
        InputError: not JSON (`not_json`), or other fields than these (`vote_invalid`).
        LimitError: nested deeper, or more lists, than any vote.
    """
    try:
        vote = read_json(body, limits=_VOTE, error=InputError)
    except InputError as error:
        raise InputError(str(error), code="not_json") from None
    match vote:
        case {"rater": str(rater), "task": int(task), "rankings": dict(rankings), **others} if not others:
            texts = [ranking for ranking in rankings.values() if isinstance(ranking, list)]
            fits = len(texts) == len(rankings) and all(isinstance(token, str) for text in texts for token in text)
            if fits and not isinstance(task, bool):
                return rater, task, rankings
    raise InputError(
        'a vote is {"rater": code, "task": number, "rankings": {aspect: [video, best first]}}', code="vote_invalid"
    )


def byte_range(header: str, size: int) -> range | None:
    """The bytes that a `Range` header asks for (RFC 9110, section 14): None for all, an empty range for none of them.

    Headers that are not one range of bytes are ignored, as the standard allows.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:  # the last so many
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(size, int(last) + 1) if last else size)


def _number(query: str) -> int | None:
    """`at` of a query.

    Raises:
        InputError: it is not a small whole number.
    """
    text = parse_qs(query, max_num_fields=8).get("at") if query.count("&") < 8 else None
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text[0]):
        raise InputError("at is the number of a task, counted from 0", code="task_unknown")
    return int(text[0])


def _length(text: str) -> int | None:
    """Of a body, if the header says one."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _copy(file: BinaryIO | BufferedIOBase, length: int, write: Callable[[bytes], Any]) -> None:
    """So many bytes, a block at a time."""
    while length and (block := file.read(min(BLOCK, length))):
        write(block)
        length -= len(block)
