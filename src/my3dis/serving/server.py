"""The server: to this machine alone, for reading alone.

What it defends against is a page of another site in the same browser (it could send requests to any local
port, and by changing what its name stands for even read the answers), and an address that is made to leave
the folder. It is no server for a network: there is no password and no encryption.
"""

from __future__ import annotations

import errno
import logging
import re
import socketserver
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import BinaryIO

from my3dis.errors import ConfigError, DataError, ResourceError
from my3dis.scheduling.sweep_report import PAGE_NAME
from my3dis.serving.files import LONGEST_ADDRESS, open_served, segments_of
from my3dis.serving.pages import Pages, report_command

__all__ = ["DEFAULT_PORT", "HOST", "RunServer", "listen"]

HOST, DEFAULT_PORT = "127.0.0.1", 8733
_PORTS_TRIED = 40
_SILENT_S = 30.0
_BLOCK = 1 << 18
_LOG = logging.getLogger(__name__)

_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
# Reports and our own pages hold their scripts, styles and pictures inside themselves and ask for nothing.
_POLICY_OF_PAGES = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_POLICY_OF_FILES = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


class RunServer(ThreadingHTTPServer):
    """Serves the pages and files of one folder; every request has a thread that ends with the program."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, pages: Pages) -> None:
        """Listen at a port, 0 for any free one.

        Raises:
            OSError: if that is not possible.
        """
        self.pages = pages
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds it, without a slash at the end."""
        return f"http://{HOST}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without asking the network for the machine's name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def is_ours(self, host: str) -> bool:
        """Return whether a ``Host`` header names this server; a name that merely leads here does not."""
        names = [f"{name}:{self.server_port}" for name in (HOST, "localhost")]
        return host.lower() in (names if self.server_port != 80 else (*names, HOST, "localhost"))

    def handle_error(self, request: object, client_address: object) -> None:
        """Log what went wrong in a request; a browser that left is nothing wrong."""
        del request, client_address
        if isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            _LOG.debug("a request ended early", exc_info=True)
        else:
            _LOG.exception("a request failed; this is a bug of ours")


def listen(pages: Pages, port: int | None = None) -> RunServer:
    """Return a server that listens: at the port given, or at the first free one from the usual one on.

    Raises:
        ConfigError: if the port given is taken or not allowed.
        ResourceError: if no port is free.
    """
    for tried in (port,) if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED):
        try:
            return RunServer(tried, pages)
        except OverflowError as error:
            raise ConfigError(f"--port: expected 0 to 65535, found {tried}") from error
        except OSError as error:
            if port is not None:
                raise _no_port(tried, error) from error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ResourceError(f"cannot listen on {HOST}: {error.strerror or error}") from error
    raise ResourceError(
        f"expected a free port from {DEFAULT_PORT} to {DEFAULT_PORT + _PORTS_TRIED - 1}, found all taken; "
        "choose another with --port"
    )


def _no_port(port: int, error: OSError) -> ConfigError:
    found = {errno.EADDRINUSE: "it taken by another program", errno.EACCES: "it not allowed to this user"}
    reason = found.get(error.errno or 0, error.strerror or str(error))
    return ConfigError(
        f"--port: expected a free port, found {port} and {reason}; choose another, or leave --port out "
        "and the next free one is taken"
    )


class _Handler(BaseHTTPRequestHandler):
    """One request: who asks, for what, and the answer."""

    server: RunServer
    timeout = _SILENT_S

    def do_GET(self) -> None:
        """Answer with a page or a file."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer with the headers that GET would have."""
        self._answer()

    def _answer(self) -> None:
        if len(self.path) > LONGEST_ADDRESS:
            return self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.is_ours(hosts[0]):
            words = f"expected the address {self.server.address}, found another name for it"
            return self._refuse(HTTPStatus.FORBIDDEN, words)
        segments = segments_of(self.path)
        if segments == ():
            return self._send_page(self.server.pages.index())
        opened = open_served(self.server.pages.catalog.root, segments) if segments is not None else None
        if segments is None or opened is None:
            return self._missing(segments or ())
        with opened.file:
            self._start(opened.kind, opened.length)
            if self.command == "GET":
                # No more than was promised, should the file grow meanwhile.
                _copy(opened.file, self.wfile, opened.length)
        return None

    def _missing(self, segments: tuple[str, ...]) -> None:
        single = self.server.pages.catalog.single
        if segments == (PAGE_NAME,) and not single:
            try:
                return self._send_page(self.server.pages.sweep())
            except DataError as error:
                return self._refuse(HTTPStatus.NOT_FOUND, str(error))
        words = "there is no such page here"
        if segments == ("report.html",) and single:
            words = (
                f"this run has no report yet; to make one: {report_command(self.server.pages.catalog.root)}"
            )
        return self._refuse(HTTPStatus.NOT_FOUND, words)

    def _send_page(self, text: str) -> None:
        data = text.encode("utf-8")
        self._start(_HTML, len(data))
        if self.command == "GET":
            self.wfile.write(data)

    def _start(self, kind: str, length: int, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        page = kind == _HTML
        self.send_header("Content-Security-Policy", _POLICY_OF_PAGES if page else _POLICY_OF_FILES)
        for name, value in _HEADERS:
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()

    def _refuse(self, status: HTTPStatus, words: str) -> None:
        data = f"{words}\n".encode("utf-8", "backslashreplace")
        self._start(_TEXT, len(data), status)
        if self.command != "HEAD":
            self.wfile.write(data)

    def version_string(self) -> str:
        """Return what the server calls itself: no versions."""
        return "my3dis"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer to what is no request, or one to change something; nothing of it is repeated back."""
        del message, explain
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # what could not be read counts as a version without headers
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            return self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "only reading (GET, HEAD) is allowed here")
        return self._refuse(status, status.phrase.lower())

    def log_message(self, format: str, *args: object) -> None:
        """Tell of a request where more is wanted than usual (``--verbose``)."""
        _LOG.debug("%s", re.sub(r"[^\x20-\x7e]", "?", format % args))


def _copy(source: BinaryIO, target: BufferedIOBase, length: int) -> None:
    left = length
    while left > 0 and (block := source.read(min(left, _BLOCK))):
        target.write(block)
        left -= len(block)
