import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ignition.monitor import Watched
from ignition.monitor.page import Feed, NoPage, PageServer
from ignition.monitor.page.server import allowed
from ignition.rundir import RunFolder

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create_at(tmp_path / "run")
    run.write_config("optimizer:\n  lr: 0.1\n")
    run.write_recipe("SECRET = 1")
    run.write_metrics({"time": 1e9, "iteration": 1, "epoch": 1, "train/batch_loss": 2.0})
    run.pictures.mkdir(exist_ok=True)
    (run.pictures / "epoch-0001-a b.png").write_bytes(b"\x89PNG picture")
    (tmp_path / "secret.png").write_bytes(b"SECRET")
    (run.pictures / "epoch-0001-link.png").symlink_to(tmp_path / "secret.png")
    return run


@pytest.fixture
def server(run):
    server = PageServer(Feed([Watched(run.path)]), port=0).start()
    yield server
    server.close()


def ask(server, path="/", *, method="GET", host="localhost", more=(), raw=None):
    """Status, headers and body of an answer to what is sent as it stands: no client tidies it up."""
    hosts = [f"Host: {host}"] if host is not None else []
    lines = [f"{method} {path} HTTP/1.1", *hosts, "Connection: close", *more, "", ""]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(raw if raw is not None else "\r\n".join(lines).encode("utf-8", "surrogateescape"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
    return int(first.split()[1]), headers, body


def test_the_page_its_files_what_is_told_and_pictures(server):
    status, headers, body = ask(server)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>ignition</title>" in body
    for name, kind in (("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
        status, headers, body = ask(server, f"/{name}")
        assert (status, headers["content-type"]) == (200, f"{kind}; charset=utf-8")
        assert len(body) == int(headers["content-length"])
    status, headers, body = ask(server, "/data?since=0")
    told = json.loads(body)
    assert (status, told["whole"], told["runs"][0]["name"]) == (200, True, "run")
    packed = ask(server, "/page.css", more=["Accept-Encoding: gzip"])
    assert packed[1]["content-encoding"] == "gzip"
    assert gzip.decompress(packed[2]) == ask(server, "/page.css")[2]
    status, headers, body = ask(server, "/runs/0/pictures/epoch-0001-a%20b.png?1")
    assert (status, headers["content-type"], body) == (200, "image/png", b"\x89PNG picture")


def test_every_answer_lets_nothing_foreign_in_or_out(server):
    for path in ("/", "/data", "/page.js", "/nothing", "/runs/0/pictures/epoch-0001-a%20b.png"):
        headers = ask(server, path)[1]
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert headers["server"] == "ignition"


@pytest.mark.parametrize(
    "path",
    [
        "/..%2f",
        "/..%2f..%2fetc%2fpasswd",
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/runs/0/config.yaml",
        "/runs/0/recipe.py",
        "/runs/0/",
        "/runs/0/pictures/",
        "/runs/0/pictures",
        "/runs/0/pictures/..%2fconfig.yaml",
        "/runs/0/pictures/..%2f..%2fsecret.png",
        "/runs/0/pictures/../../secret.png",
        "/runs/0/pictures/%2fetc%2fpasswd",
        "/runs/0/pictures/epoch-0001-link.png",  # leads out of the run
        "/runs/0/pictures/epoch-0001-a b.png%00.png",
        "/runs/1/pictures/epoch-0001-a%20b.png",
        "/runs/-1/pictures/epoch-0001-a%20b.png",
        "/runs/٠/pictures/epoch-0001-a%20b.png",
        "/assets/",
        "/page.css/",
        "/index.html/../page.css",
        "/__init__.py",
        "/server.py",
        "/.",
        "/data/..",
    ],
)
def test_nothing_outside_the_page_and_the_pictures_is_served(server, path):
    status, _, body = ask(server, path)
    assert status in (400, 404)
    assert b"root:" not in body
    assert b"SECRET" not in body
    assert b"page.css" not in body  # no listing, and nothing that was asked for is said again


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "10.0.0.1", "", None, "localhost, evil", "a@b"],
)
def test_a_foreign_name_is_refused(server, host):
    for path in ("/", "/data", "/page.js", "/runs/0/pictures/epoch-0001-a%20b.png", "/nothing"):
        status, _, body = ask(server, path, host=host)
        assert (status, body) == (403, b"403 Forbidden: this server is known here by another name\n")


def test_two_names_are_refused_and_a_tunnels_port_is_not(server):
    assert ask(server, more=["Host: evil.example"])[0] == 403
    for host in ("localhost:9999", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert ask(server, host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_can_only_be_read(server, method):
    status, headers, _ = ask(server, "/data", method=method, more=["Content-Length: 3"])
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_a_head_has_no_body(server):
    status, headers, body = ask(server, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 1000


@pytest.mark.parametrize(
    "raw",
    [
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /data?since=-1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /data?since=99999999999999999999 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_no_request_harms_nothing(server, raw):
    with contextlib.suppress(ConnectionError):  # it may hang up on what it does not read
        assert ask(server, raw=raw)[0] in (400, 414, 431)
    assert ask(server)[0] == 200


def test_names_on_loopback_and_beyond():
    assert not allowed("my-server:8765", "127.0.0.1")
    assert allowed("my-server:8765", "my-server")
    assert allowed("192.168.1.5:8765", "0.0.0.0")
    assert allowed(socket.gethostname(), "0.0.0.0")
    assert not allowed("evil.example", "0.0.0.0")
    assert not allowed("evil.example", "192.168.1.5")


def test_a_port_that_is_taken_is_told_and_the_usual_one_is_looked_for_further(run, server):
    feed = Feed([Watched(run.path)])
    with pytest.raises(NoPage, match=f"port {server.port}: Address already in use. --serve 0 takes"):
        PageServer(feed, port=server.port)
    one = PageServer(feed)
    other = PageServer(feed)
    assert one.port != other.port
    assert not one.open_to_others
    one.close()
    other.close()


def test_many_connections_that_say_nothing_do_not_keep_others_out_for_ever(server):
    with contextlib.ExitStack() as held:
        for _ in range(70):
            held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
        time.sleep(0.2)
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(ConnectionError, IndexError):
            if ask(server)[0] == 200:
                return
        assert time.monotonic() < deadline


def command(*words, **how):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "ignition.monitor", *map(str, words)]
    return subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def test_the_command_serves_on_loopback_until_it_is_interrupted(run):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.path.rglob("*") if not path.is_symlink())
    process = command(run.path, "--serve", 0)
    try:
        url = process.stdout.readline().strip()
        port = int(url.removeprefix("http://127.0.0.1:").rstrip("/"))
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET /data HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 200 OK" in connection.recv(100)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (130, "")
    assert before == sorted((path, path.stat().st_mtime_ns) for path in run.path.rglob("*") if not path.is_symlink())


def test_the_command_warns_where_others_can_reach_it(run):
    process = command(run.path, "--serve", 0, "--host", "0.0.0.0")
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert errors.startswith("WARNING: whoever reaches port ")
    assert "ssh -L" in errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--serve", "0", "--host", "192.0.2.1"], "192.0.2.1, port 0: Cannot assign requested address"),
        (["--serve", "70000"], "'70000' is no port"),
        (["--host", "0.0.0.0"], "--host says where --serve listens"),
        (["--serve", "0", "--json"], "--json and --serve are different ways to look"),
        (["--html", "/nowhere/at/all.html"], "/nowhere/at/all.html: No such file or directory"),
    ],
)
def test_what_cannot_be_is_told_without_a_traceback(run, words, said):
    process = command(run.path, *words)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in errors
    assert "Traceback" not in errors


def test_the_command_writes_the_page_as_one_file(run, tmp_path):
    process = command(run.path, "--html", tmp_path / "page.html")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors, output) == (0, "", f"{tmp_path / 'page.html'}\n")
    assert "train/batch_loss" in (tmp_path / "page.html").read_text()
