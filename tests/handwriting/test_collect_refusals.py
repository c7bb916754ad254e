"""The page on which digits are drawn, attacked: what its server refuses, asked over a socket."""

import os
import socket
import struct

import pytest
from collecting import SEVEN, ask, serving

from handwriting.collect import MAX_BYTES, MAX_POINTS
from handwriting.samples import load_samples


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "samples.json"


@pytest.fixture
def server(path):
    with serving(path) as server:
        yield server


def raw(server, request, then=b""):
    """All that the server answers to bytes."""
    with socket.create_connection(server.server_address, timeout=20) as connection:
        connection.sendall(request if isinstance(request, bytes) else f"{request}\r\n".encode())
        connection.sendall(then)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe\x00", "decode"),
        (b"[" * 100_000, "recursion"),
        (b'{"label": 1}', "has no 'points'"),
        ([1, 2], "indices"),
        ({"label": 10, "points": SEVEN}, "label must be an integer from 0 to 9, got 10"),
        ({"label": True, "points": SEVEN}, "label must be"),
        ({"label": "7", "points": SEVEN}, "label must be"),
        ({"label": 7, "points": []}, "points must be"),
        ({"label": 7, "points": [[0.1, 0.1, 0]]}, "points must be at least 2"),
        ({"label": 7, "points": [[0.1, 0.1], [0.2, 0.2]]}, "points must be"),
        ({"label": 7, "points": [[0.1, 0.1, 0], [0.2, 0.2]]}, "inhomogeneous"),
        ({"label": 7, "points": [[0.1, 0.1, 0], [1.2, 0.2, 1]]}, "x and y must be in 0..1"),
        ({"label": 7, "points": [[0.1, 0.1, 0], [float("nan"), 0.2, 1]]}, "x and y"),
        ({"label": 7, "points": [[0.1, 0.1, 0.5], [0.2, 0.2, 1]]}, "lifted must be 0 or 1"),
        ({"label": 7, "points": {"a": 1}}, "points must be numbers"),
        ({"label": 7, "points": 5}, "int"),
        ({"label": 7, "points": [["0.1", "0.1", "0"], ["0.2", "0.2", "1"]]}, "must be numbers"),
        ({"label": 7, "points": [[0.1, None, 0], [0.2, 0.2, 1]]}, "points must be numbers"),
        ({"label": 7, "points": [[10**400, 0.1, 0], [0.2, 0.2, 1]]}, "points must be numbers"),
        ({"label": 7, "points": [[float("inf"), 0.1, 0], [0.2, 0.2, 1]]}, "x and y"),
        ({"label": 7, "points": [[-0.001, 0.1, 0], [0.2, 0.2, 1]]}, "x and y"),
        (b'{"label": 7, "points": [[1e999, 0.1, 0], [0.2, 0.2, 1]]}', "x and y"),
        (b'{"label": 7, "points": ' + b"[" * 900 + b"]" * 900 + b"}", ""),
        (b'{"label": 7, "points": ' + b'{"a": ' * 900 + b"1" + b"}" * 901, "must be numbers"),
        (b'{"label": ' + b"9" * 5000 + b', "points": []}', "digits"),
        ({"label": 7.0, "points": SEVEN}, "label must be"),
        ({"label": None, "points": SEVEN}, "label must be"),
        ({"label": "x" * 100_000, "points": SEVEN}, "label must be"),
        ({"label": [7], "points": SEVEN}, "label must be"),
        ({"label": 7, "points": [[0, 0, 0]] * (MAX_POINTS + 1)}, f"may have {MAX_POINTS} points"),
        ({"label": 7, "points": [[0.1, 0.1, 0], [0.1, 0.1, 1]]}, "nothing is drawn"),
        ({"label": 7, "points": [[0.1, 0.1, 0], [0.2, 0.1, 1]] * 11}, "do not fit in 20 points"),
    ],
)
def test_what_is_no_drawing_is_refused_in_one_line_and_not_kept(server, path, sent, says):
    for target in ("/preview", "/save"):
        status, answer = ask(server, "POST", target, sent)
        assert status == 400 and says in answer["error"]
        assert "\n" not in answer["error"] and len(answer["error"]) <= 300
    assert not path.exists()
    assert ask(server, "GET", "/counts")[0] == 200


def test_size_and_kind_are_checked_before_anything_is_read(server, path):
    for length in (str(MAX_BYTES + 1), "9" * 19, "9" * 5000):
        assert ask(server, "POST", "/save", Content_Length=length)[0] == 413
    for length in (None, "-1", "+5", "0x10", "1e3", "5, 5", "\xb2"):
        assert ask(server, "POST", "/save", Content_Length=length)[0] == 411
    assert ask(server, "POST", "/save", Transfer_Encoding="chunked")[0] == 411
    drawing = {"label": 7, "points": SEVEN}
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        assert ask(server, "POST", "/save", drawing, Content_Type=kind)[0] == 415
    assert not path.exists()


def test_other_sites_get_nothing_through_a_browser(server, path):
    port, drawing = server.server_port, {"label": 7, "points": SEVEN}
    hosts = ["evil.example", f"evil.example:{port}", f"localhost:{port + 1}", "localhost", "", None]
    hosts += [
        f"localhost:{port}.evil.example",
        f"localhost.evil.example:{port}",
        f"a@localhost:{port}",
    ]
    for host in hosts:
        assert ask(server, "GET", "/", Host=host)[0] == 403
        assert ask(server, "POST", "/save", drawing, Host=host)[0] == 403
    ours = f"http://localhost:{port}"
    others = ["http://evil.example", "null", "", f"https://localhost:{port}", f"localhost:{port}"]
    others += [f"{ours}.evil.example", f"{ours}@evil.example", "http://localhost", f"{ours}/"]
    for origin in others:
        for target in ("/save", "/preview"):
            assert ask(server, "POST", target, drawing, Origin=origin)[0] == 403
        assert ask(server, "GET", "/counts", Origin=origin)[0] == 403
    assert not path.exists()
    assert ask(server, "POST", "/save", drawing, Origin=ours)[0] == 200


def test_no_answer_lets_other_sites_read_it(server):
    for method, target in (
        ("GET", "/"),
        ("GET", "/counts"),
        ("GET", "/none"),
        ("OPTIONS", "/save"),
    ):
        answer = raw(
            server, f"{method} {target} HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n"
        )
        assert answer.startswith(b"HTTP/1.0 ") and b"access-control" not in answer.lower()


def test_nothing_but_the_page_is_served(server):
    for target in ("/collect.py", "/../collect.py", "/%2e%2e/collect.py", "/index.html", "/save"):
        assert ask(server, "GET", target)[0] == 404
    assert ask(server, "POST", "/", {})[0] == 404
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "SAVE"):
        assert ask(server, method, "/save", {})[0] == 501
    status, page = ask(server, "GET", "/")
    assert status == 200 and b"<canvas" in page


def test_the_server_is_reached_by_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None)}
    for address in others - {"127.0.0.1", "127.0.1.1", "::1"}:
        with pytest.raises(OSError):
            socket.create_connection((address, server.server_port), timeout=2)


def test_it_writes_nowhere_but_its_file(server, path, tmp_path):
    kept = tmp_path / "kept.json"
    kept.write_text("kept")
    before = set(os.walk(tmp_path.parent).__next__()[1])
    drawing = {"label": 7, "points": SEVEN, "out": str(kept), "path": "../kept.json", "file": "x"}
    for target in ("/save?out=../kept.json", "/save/../../kept.json", "/save#", "/save/"):
        assert ask(server, "POST", target, drawing)[0] == 404
    assert not path.exists()
    assert ask(server, "POST", "/save", drawing, X_Path="../kept.json")[0] == 200
    assert kept.read_text() == "kept" and load_samples(path).labels.tolist() == [7]
    assert {entry.name for entry in tmp_path.iterdir()} == {"kept.json", "new"}
    assert [entry.name for entry in path.parent.iterdir()] == ["samples.json"]
    assert set(os.walk(tmp_path.parent).__next__()[1]) == before


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    outside, path = tmp_path / "outside.json", tmp_path / "page" / "samples.json"
    with serving(outside) as server:
        ask(server, "POST", "/save", {"label": 3, "points": SEVEN})
    before = outside.read_bytes()
    path.parent.mkdir()
    path.symlink_to(outside)
    with serving(path) as server:
        assert ask(server, "POST", "/save", {"label": 4, "points": SEVEN})[0] == 200
    assert outside.read_bytes() == before
    assert not path.is_symlink() and load_samples(path).labels.tolist() == [3, 4]


def test_a_full_disk_is_said_and_loses_no_drawing(server, path):
    resource = pytest.importorskip("resource")
    drawing = {"label": 7, "points": SEVEN}
    assert ask(server, "POST", "/save", drawing)[0] == 200
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), hard))
    try:
        status, answer = ask(server, "POST", "/save", drawing)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 500 and str(path) in answer["error"] and "\n" not in answer["error"]
    assert path.read_bytes() == before and [e.name for e in path.parent.iterdir()] == [path.name]
    assert ask(server, "POST", "/save", drawing) == (200, {"counts": [0] * 7 + [2, 0, 0]})


def test_bodies_that_are_not_as_long_as_they_say_are_refused(server, path):
    body = b'{"label": 7, "points": [[0.1, 0.1, 0], [0.2, 0.2, 1]]}'
    for length in (len(body) + 50, len(body) - 1, 0):
        head = f"POST /save HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        assert raw(server, head.encode(), body).startswith(b"HTTP/1.0 400 ")
    assert not path.exists()


def test_a_refusal_reaches_those_who_are_still_sending(server):
    head = f"POST /save HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    for _ in range(50):
        answer = raw(server, head.format(2 * MAX_BYTES).encode(), b" " * 2 * MAX_BYTES)
        assert answer.startswith(b"HTTP/1.0 413 ") and answer.endswith(b"}")
        answer = raw(server, head.format(0).encode(), b" " * MAX_BYTES)
        assert answer.startswith(b"HTTP/1.0 400 ") and answer.endswith(b"}")


def test_what_is_no_request_does_not_stop_it(server, path, capsys):
    for request in (
        b"\x00\xff\xfe\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
        b"GET /\r\n\r\n",
    ):
        assert b"<canvas" not in raw(server, request)
    # Connections that are reset: with a request half said, and with an answer on its way.
    for request in (
        b"GE",
        f"GET / HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n\r\n".encode(),
    ):
        with socket.create_connection(server.server_address) as connection:
            connection.sendall(request)
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert ask(server, "GET", "/counts")[0] == 200 and not path.exists()
    assert capsys.readouterr() == ("", "")
