"""Serves the page: on this machine alone unless told otherwise, to be read only, and nothing but the runs."""

from __future__ import annotations

import contextlib
import errno
import gzip
import ipaddress
import re
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ignition.monitor.page.document import INDEX, TYPES, assets, to_json
from ignition.monitor.page.feed import PICTURE_TYPES, Feed

PORT = 8765
LOOPBACK = "127.0.0.1"
POLICY = (
    "default-src 'self'; img-src 'self' data:; script-src 'self'; style-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",  # no page of another site may show what is served here
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_PICTURE = re.compile(r"/runs/(\d{1,6})/pictures/([^/]+)")
_MOST_CONNECTIONS = 64


class NoPage(ValueError):
    """A page cannot be served or written; says where, why and what to do."""


class PageServer:
    """The page of a feed at ``url``, from ``start`` to ``close``.

    Args:
        feed: what is told.
        host: the address to listen at. Whoever reaches another one than loopback can read: there is no password.
        port: 0 for any that is free; None for the usual one, or the next free one after it.

    Raises:
        NoPage: it cannot be listened there.
    """

    def __init__(self, feed: Feed, *, host: str = LOOPBACK, port: int | None = None) -> None:
        ports = [port] if port is not None else [*range(PORT, PORT + 20), 0]
        self.host = host
        self._server = self._listening(feed, host, ports)
        shown = host if host not in ("", "0.0.0.0", "::") else socket.gethostname()  # asked for  # nosec B104
        self.port: int = self._server.server_address[1]
        self.url = f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="page")

    @property
    def open_to_others(self) -> bool:
        """Whether other machines can reach it."""
        return not is_loopback(self.host)

    def start(self) -> PageServer:
        """Answer from now on, in threads of its own."""
        self._thread.start()
        return self

    def wait(self) -> None:
        """Return when it is closed."""
        while self._thread.is_alive():  # a wait without an end could not be interrupted on every system
            self._thread.join(1.0)

    def close(self) -> None:
        """Stop."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @staticmethod
    def _listening(feed: Feed, host: str, ports: list[int]) -> _Server:
        problem: OSError | None = None
        for port in ports:
            try:
                return _Server(feed, host, port)
            except OSError as error:
                problem = error
        assert problem is not None
        what_to_do = (
            "--serve 0 takes any port that is free"
            if problem.errno in (errno.EADDRINUSE, errno.EACCES)
            else "--host takes an address of this machine"
        )
        raise NoPage(f"{host}, port {ports[0]}: {problem.strerror or problem}. {what_to_do}") from problem


def is_loopback(host: str) -> bool:
    """Whether that address is this machine alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allowed(header: str | None, host: str) -> bool:
    """Whether a request's Host header names this server, which listens at ``host``.

    A page of the web whose name an attacker lets point here sends that name (DNS rebinding). An address cannot be
    made to point elsewhere, so any is right where the server is open to others. The port is not looked at: a tunnel
    has another one.

    >>> [allowed(name, "127.0.0.1") for name in ("localhost:9000", "127.0.0.1", "[::1]:80", "evil.example", "10.0.0.1")]
    [True, True, True, False, False]
    >>> [allowed(name, "0.0.0.0") for name in ("10.0.0.1:80", "evil.example")]
    [True, False]
    """
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/\s]+)(:\d{1,5})?", header or "")
    if match is None:
        return False
    name = match[1].strip("[]").lower().rstrip(".")
    if is_loopback(name):
        return True
    if is_loopback(host):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return name in (host.lower(), own, own.partition(".")[0], socket.getfqdn().lower())
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, feed: Feed, host: str, port: int) -> None:
        self.feed, self.host = feed, host
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._connections: set[socket.socket] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Request)

    def server_bind(self) -> None:  # the one of the library asks a name server, which may take long
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:  # that many tabs are none
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.discard(request)
            self._room.release()

    def server_close(self) -> None:
        """Stop listening, and hang up on those who are kept waiting for their next question."""
        super().server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no news."""


class _Request(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30  # seconds that a silent connection is kept

    def do_GET(self) -> None:
        answer = self._answer()
        if isinstance(answer, HTTPStatus):
            self.send_error(answer)
        else:
            self._send(*answer)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # what it brings is not read
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = do_POST

    def _answer(self) -> tuple[str, bytes] | HTTPStatus:
        """Type and content of what is asked for, or why there is none."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not allowed(hosts[0], self.server.host):
            return HTTPStatus.FORBIDDEN
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return HTTPStatus.BAD_REQUEST
        if not self.path.startswith("/"):
            return HTTPStatus.BAD_REQUEST
        target = urlsplit(self.path)
        if target.path == "/data":
            return self._data(parse_qs(target.query))
        picture = _PICTURE.fullmatch(target.path)
        if picture is not None:
            return self._picture(int(picture[1]), unquote(picture[2], errors="surrogateescape"))
        name = INDEX if target.path == "/" else target.path[1:]
        if name not in assets():
            return HTTPStatus.NOT_FOUND
        return f"{TYPES['.' + name.rpartition('.')[2]]}; charset=utf-8", assets()[name]

    def _data(self, asked: dict[str, list[str]]) -> tuple[str, bytes] | HTTPStatus:
        since, feed = asked.get("since", ["0"])[0], asked.get("feed", [""])[0]
        if not re.fullmatch(r"\d{1,15}", since, re.ASCII):
            return HTTPStatus.BAD_REQUEST
        return "application/json", to_json(self.server.feed.since(int(since), feed)).encode()

    def _picture(self, run: int, name: str) -> tuple[str, bytes] | HTTPStatus:
        path = self.server.feed.picture(run, name)
        try:
            content = path.read_bytes() if path is not None else None
        except OSError:  # the run has replaced it
            content = None
        if path is None or content is None:
            return HTTPStatus.NOT_FOUND
        return PICTURE_TYPES[path.suffix.lower()], content

    def _send(self, kind: str, content: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        packed = len(content) > 1000 and not kind.startswith("image/p")
        packed = packed and "gzip" in self.headers.get("Accept-Encoding", "")
        if packed:
            content = gzip.compress(content, compresslevel=2)
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Vary", "Accept-Encoding")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what is wrong in a word, and nothing that was sent."""
        status = HTTPStatus(code)
        self.request_version = self.protocol_version  # what cannot be read counts as a request from before headers
        hint = ": this server is known here by another name" if status == HTTPStatus.FORBIDDEN else ""
        if not hasattr(self, "headers"):  # what came is no request
            self.close_connection = True
            self.headers = self.MessageClass()
        self._send("text/plain; charset=utf-8", f"{status.value} {status.phrase}{hint}\n".encode(), status)

    def version_string(self) -> str:
        """Whose answer it is; of which version is nobody's business."""
        return "ignition"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not told: one comes each second."""
