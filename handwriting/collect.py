"""Collects drawings of digits: a local web page, collect.html, and the server behind it.

The page draws, asks for the form in which models see a drawing, and sends what is to be kept. The
server takes drawings from this machine only, checks them, and adds them to one file. The file's
form is left to `samples.py`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from handwriting.files import one_line
from handwriting.models.writer import CLASSES
from handwriting.samples import check_drawing, read_drawings, resample, save_samples

HOST = "127.0.0.1"

# Of what is sent at once. A second of a fast pen is 200 points, 4 kB.
MAX_BYTES = 256 * 1024
MAX_POINTS = 10_000

_TAKEN_AT_ONCE = 64 * 1024  # bytes of what is sent in vain

_MAX_MESSAGE = 300  # characters: errors repeat what was sent

POINTS = 20  # that a drawing is shown as

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class CollectConfig:
    """Options of the page.

    Attributes:
        out: the .json file that drawings are added to, made with the first one; its form is that
            of `samples.py`.
        port: of the page's address, from 1024 on, or 0 for any that is free.
    """

    out: Path = Path("samples.json")
    port: int = 8728

    def __post_init__(self) -> None:
        if self.out.suffix != ".json":
            raise ValueError(f"out must be the name of a .json file, got {self.out}")
        if self.port != 0 and not 1024 <= self.port <= 65535:
            raise ValueError(f"port must be 0 or from 1024 to 65535, got {self.port}")


def collect(config: CollectConfig) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        SampleError: the file holds something else.
        OSError: the file cannot be read or its folder made, or the port is taken.
    """
    with CollectServer(config) as server:
        print(f"Draw at {server.url} and press Ctrl-C here when done; {config.out} keeps it all")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"drawings in {config.out}: {sum(server.counts())}")


class CollectServer(ThreadingHTTPServer):
    """The server of the page, on this machine's loopback address.

    Threads, because browsers hold connections open on which they ask nothing.

    Attributes:
        url: the page's address.
    """

    def __init__(self, config: CollectConfig) -> None:
        self._out = config.out
        self._lock = threading.Lock()
        self.counts()  # a file that cannot be added to is found before anything is drawn
        config.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            super().__init__((HOST, config.port), _Handler)
        except OSError as error:
            raise OSError(f"port {config.port} cannot be used: {error}") from error
        self.url = f"http://{HOST}:{self.server_port}/"

    def handle_error(self, *connection: Any) -> None:
        """Say nothing of a connection that broke off."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(*connection)

    def counts(self) -> list[int]:
        """How many drawings of each digit the file holds."""
        return np.bincount(self._read()[1], minlength=CLASSES).tolist()

    def add(self, drawing: np.ndarray, label: int) -> None:
        """Put a drawing that `check_drawing` passed at the end of the file."""
        with self._lock:
            drawings, labels = self._read()
            save_samples(self._out, [*drawings, drawing], [*labels, label])

    def _read(self) -> tuple[list[np.ndarray], list[int]]:
        return read_drawings(self._out) if self._out.exists() else ([], [])


class _Refusal(Exception):
    """What a request gets instead of an answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: CollectServer
    timeout = 10

    def do_GET(self) -> None:
        """Send the page, or how many drawings there are."""
        self._answer({"/": self._page, "/counts": self._counts})

    def do_POST(self) -> None:
        """Take a drawing, to show or to keep it."""
        self._answer({"/preview": self._preview, "/save": self._save})

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""

    def finish(self) -> None:
        """Take what is still on its way: closing with it unread would reset the connection, and
        take a refusal from the one who is still sending."""
        super().finish()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(0, 4 * MAX_BYTES, _TAKEN_AT_ONCE):
                if not self.connection.recv(_TAKEN_AT_ONCE):
                    break

    def _answer(self, actions: dict[str, Any]) -> None:
        try:
            # Pages of other sites cannot send these headers to us with our own name in them.
            ours = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
            origin = self.headers.get("Origin")
            if self.headers.get("Host") not in ours or (
                origin is not None and origin not in {f"http://{name}" for name in ours}
            ):
                raise _Refusal(HTTPStatus.FORBIDDEN, "only this machine's own page is served")
            if self.path not in actions:
                raise _Refusal(HTTPStatus.NOT_FOUND, f"there is no {self.path[:80]}")
            status, answer = HTTPStatus.OK, actions[self.path]()
        except _Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        except (ValueError, OSError) as error:  # the file was changed or cannot be written
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            answer = {"error": one_line(error)}
        with contextlib.suppress(ConnectionError):  # a page that was closed meanwhile
            self._send(status, answer)

    def _send(self, status: HTTPStatus, answer: bytes | dict[str, Any]) -> None:
        kind = "text/html" if isinstance(answer, bytes) else "application/json"
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _page(self) -> bytes:
        return resources.files("handwriting").joinpath("collect.html").read_bytes()

    def _counts(self) -> dict[str, Any]:
        return {"counts": self.server.counts()}

    def _preview(self) -> dict[str, Any]:
        drawing, _ = self._drawing()
        return {"points": resample(drawing, POINTS).round(5).tolist()}

    def _save(self) -> dict[str, Any]:
        self.server.add(*self._drawing())
        return self._counts()

    def _drawing(self) -> tuple[np.ndarray, int]:
        """The drawing that was sent, of the right form, and its label."""
        if self.headers.get_content_type() != "application/json":
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a drawing is sent as JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "the length of a drawing must be sent")
        # Python refuses to make an integer of thousands of digits.
        if len(length) > len(str(MAX_BYTES)) or int(length) > MAX_BYTES:
            raise _Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a drawing may have {MAX_BYTES} bytes, got {length[:20]}",
            )
        try:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                raise ValueError(f"{length} bytes were announced, {len(body)} came")
            sent = json.loads(body)
            if len(sent["points"]) > MAX_POINTS:
                raise ValueError(
                    f"a drawing may have {MAX_POINTS} points, got {len(sent['points'])}"
                )
            drawing = check_drawing(sent["points"], sent["label"])
            resample(drawing, POINTS)
            return drawing, sent["label"]
        except KeyError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, f"the drawing has no {error}") from error
        except (TypeError, ValueError, RecursionError) as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, one_line(error)[:_MAX_MESSAGE]) from error
