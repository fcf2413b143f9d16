"""The server over a real connection: what it answers, what it refuses, and what every answer says."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.sweep_page import write_run
from my3dis.errors import ConfigError
from my3dis.serving import server as module
from my3dis.serving.catalog import Catalog, open_root
from my3dis.serving.pages import Pages
from my3dis.serving.server import RunServer, listen


@contextmanager
def serving(path: Path) -> Iterator[RunServer]:
    with listen(Pages(Catalog(open_root(path))), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "runs"
    for n in range(3):
        write_run(folder / f"room<{n}>" / "default", f"room<{n}>", 1.0 + n, failed=n == 2)
    run = folder / "room<0>" / "default"
    (run / "comparison").mkdir()
    (run / "comparison" / "0000.jpg").write_bytes(b"\xff\xd8picture")
    for name in ("instances.ply", "config.yaml", "memory_profile.svg", "report.md"):
        (run / name).write_text("content")
    (folder / "workflow_history.csv").write_text("finished,scene\n")
    return folder


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[RunServer]:
    before = sorted(root.rglob("*"))
    with serving(root) as started:
        yield started
    assert sorted(root.rglob("*")) == before  # nothing was written


def ask(
    server: RunServer, target: str, *, method: str = "GET", host: str | None = None, body: bytes | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.putrequest(method, target, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{server.server_port}" if host is None else host)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def raw(server: RunServer, data: bytes) -> bytes:
    """Return everything that is answered to some bytes."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_index_links_to_the_reports(server: RunServer) -> None:
    """The index has a row per run, escaped, a link to each report, and one to the page over all scenes."""
    answer, body = ask(server, "/")
    text = body.decode()
    assert answer.status == 200
    assert text.count("<tr data-dataset=") == 3
    assert 'href="room%3C0%3E/default/report.html"' in text
    assert 'href="room%3C2%3E/default' not in text  # it failed before its report
    assert "my3dis stage report" in text
    assert 'href="sweep.html"' in text
    assert "room<" not in text
    for choice in ('<option value="failed">failed (1)', '<option value="finished">finished (2)'):
        assert choice in text
    assert ask(server, "/room%3C0%3E/default/report.html")[1] == b"<!doctype html>"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("report.html", "text/html; charset=utf-8"),
        ("report.md", "text/markdown; charset=utf-8"),
        ("comparison/0000.jpg", "image/jpeg"),
        ("scores.json", "application/json"),
        ("memory_profile.svg", "image/svg+xml"),
        ("config.yaml", "text/plain; charset=utf-8"),
        ("instances.ply", "application/octet-stream"),
        ("../../workflow_history.csv", None),
        ("absent.html", None),
    ],
)
def test_types_and_headers(server: RunServer, name: str, kind: str | None) -> None:
    """Every answer has its type and length, and forbids guessing, keeping, framing and foreign scripts."""
    answer, body = ask(server, f"/room%3C0%3E/default/{name}")
    assert answer.status == (404 if kind is None else 200)
    assert answer.getheader("Content-Type") == (kind or "text/plain; charset=utf-8")
    assert int(answer.getheader("Content-Length") or -1) == len(body)
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("X-Frame-Options") == "DENY"
    assert answer.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert answer.getheader("Server") == "my3dis"
    policy = answer.getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == (name == "report.html")
    head, nothing = ask(server, f"/room%3C0%3E/default/{name}", method="HEAD")
    assert nothing == b""
    same = ("Content-Type", "Content-Length", "Content-Security-Policy")
    assert [head.getheader(n) for n in same] == [answer.getheader(n) for n in same]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_only_reading_is_allowed(server: RunServer, method: str) -> None:
    """Every other method is refused by name, and says which are allowed."""
    answer, body = ask(server, "/", method=method, body=b"x")
    assert answer.status == 405
    assert answer.getheader("Allow") == "GET, HEAD"
    assert b"only reading" in body


def test_other_names_for_this_machine_are_refused(server: RunServer) -> None:
    """A name that another site made lead here, another port or no name at all gets nothing; ours do."""
    port = server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        assert ask(server, "/", host=host)[0].status == 200
    for host in (
        "evil.example", f"evil.example:{port}", "127.0.0.1", "localhost", f"127.0.0.1:{port + 1}", "",
        f"localhost.evil.example:{port}", f"0.0.0.0:{port}", f"[::1]:{port}", f"user@localhost:{port}",
    ):  # fmt: skip
        answer, body = ask(server, "/", host=host)
        assert answer.status == 403, host
        assert b"room" not in body
    assert b" 403 " in raw(server, b"GET / HTTP/1.1\r\n\r\n")
    twice = f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil\r\n\r\n"
    assert b" 403 " in raw(server, twice.encode())


def test_requests_that_are_none(server: RunServer) -> None:
    """Garbage, endless lines and headers, and addresses of other servers are refused without a traceback."""
    port = server.server_port
    host = f"Host: localhost:{port}\r\n".encode()
    for line, code in (
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n" + host, b" 414 "),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n" + host, b" 414 "),
        (b"GET http://evil.example/ HTTP/1.1\r\n" + host, b" 404 "),
        (b"GET room HTTP/1.1\r\n" + host, b" 404 "),
        (b"GET / HTTP/1.1\r\n" + host + b"X: y\r\n" * 200, b" 431 "),
        (b"GET / HTTP/7\r\n" + host, b" 400 "),
        (b"\xff\x00\x01 what is this\r\n", b" 400 "),
    ):
        assert code in raw(server, line + b"\r\n").splitlines()[0] + b" ", line[:40]
    assert ask(server, "/")[0].status == 200  # and it goes on


def test_only_this_machine_can_ask(server: RunServer) -> None:
    """It listens at the loopback address alone."""
    assert server.server_address[0] == "127.0.0.1"


def test_page_of_the_sweep_is_made_where_none_lies(server: RunServer, root: Path) -> None:
    """Without a sweep.html one is made and served, and the folder stays as it is."""
    assert not (root / "sweep.html").exists()
    answer, body = ask(server, "/sweep.html")
    assert answer.status == 200
    assert b"My3DIS sweep" in body
    assert b"room&lt;1&gt;" in body
    assert not (root / "sweep.html").exists()


def test_page_of_the_sweep_that_lies_there_is_served(tmp_path: Path) -> None:
    """A sweep.html is served as it is; a damaged record of a sweep without one is told."""
    write_run(tmp_path / "room" / "default", "room", 1.0, failed=False)
    (tmp_path / "sweep.html").write_text("as it is")
    (tmp_path / "sweep.json").write_text("{}")
    with serving(tmp_path) as server:
        assert ask(server, "/sweep.html")[1] == b"as it is"
        (tmp_path / "sweep.html").unlink()
        answer, body = ask(server, "/sweep.html")
        assert answer.status == 404
        assert b"damaged" in body


def test_sweep_that_has_just_begun(tmp_path: Path) -> None:
    """A folder with the record of a sweep and no run yet is served, and says so."""
    (tmp_path / "sweep.json").write_text("{}")
    with serving(tmp_path) as server:
        answer, body = ask(server, "/")
    assert answer.status == 200
    assert b"There is no run here yet." in body


def test_single_run(root: Path, tmp_path: Path) -> None:
    """One run is served with its files at the top; without a report the command that makes one is told."""
    run = root / "room<0>" / "default"
    with serving(run) as server:
        assert server.pages.report_address() == "/report.html"
        text = ask(server, "/")[1].decode()
        assert 'href="comparison/0000.jpg"' in text
        assert ask(server, "/comparison/0000.jpg")[1] == b"\xff\xd8picture"
        assert ask(server, "/sweep.html")[0].status == 404
    write_run(tmp_path / "room" / "default", "room", 1.0, failed=True)
    with serving(tmp_path / "room" / "default") as server:
        assert server.pages.report_address() == "/"
        assert b"my3dis stage report" in ask(server, "/")[1]
        answer, body = ask(server, "/report.html")
        assert answer.status == 404
        assert f"my3dis stage report {tmp_path}".encode() in body


def test_ports(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A taken port leads to the next one, unless it was asked for by number."""
    pages = Pages(Catalog(open_root(root)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(module, "DEFAULT_PORT", port)
        with listen(pages) as found:
            assert port < found.server_port < port + 40
        with pytest.raises(ConfigError, match=f"found {port} and it taken"):
            listen(pages, port)
    with pytest.raises(ConfigError, match="0 to 65535"):
        listen(pages, 70000)


def test_a_file_that_cannot_be_read_is_not_found(tmp_path: Path) -> None:
    """A report without permission to read is no page, and the server goes on."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    write_run(tmp_path / "room" / "default", "room", 1.0, failed=False)
    (tmp_path / "room" / "default" / "report.html").chmod(0)
    with serving(tmp_path) as server:
        assert ask(server, "/room/default/report.html")[0].status == 404
        assert ask(server, "/")[0].status == 200
