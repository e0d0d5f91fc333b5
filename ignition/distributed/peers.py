"""Who of a run's processes is still there: the others are told at once when one is gone, and which."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ignition.distributed.whereabouts import Whereabouts, whereabouts

log = logging.getLogger(__name__)

T = TypeVar("T")

POLL_SECONDS = 0.25
CONNECT_SECONDS = 20.0
LOOPBACK = "127.0.0.1"


class Lost(NamedTuple):
    """A process that is gone: which, where it was, and what is known of the reason."""

    rank: int
    pid: int
    host: str
    why: str

    def __str__(self) -> str:
        return f"process {self.rank} (pid {self.pid} on {self.host}) {self.why}"


class Peers:
    """Keeps a connection between process 0 and each other one, by which all hear of a process that is gone.

    The system closes the connections of a process that ends, by kill -9 as well, so this takes no heartbeat that a busy
    process could miss. A host that vanished from the network is found by TCP's own keep-alive in about two minutes.
    What the others wait for meanwhile, on the GPU for instance, may never come: who is still there ``grace_seconds``
    after the news ends itself, with exit code 1.

    A process says when it ends, and if it failed, why; else it was killed or has crashed. One that does not answer, and
    is not gone, can be asked where it is: a thread of its own answers. To be made by all processes of a run together,
    and closed by each.

    Args:
        rank, world_size: this process and how many there are.
        from_first: gives process 0's value to all.
        grace_seconds: how long after the news this process may go on to end by itself.
    """

    def __init__(self, rank: int, world_size: int, from_first: Callable[[Any], Any], *, grace_seconds: float = 20.0):
        self.rank, self.world_size, self.grace_seconds = rank, world_size, grace_seconds
        self._first: Lost | None = None
        self._news = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._known: dict[socket.socket, dict[str, Any]] = {}  # connections, and who is at the other end
        self._said = False
        self._at = 0.0  # when the first one was found gone
        self._places: dict[int, Whereabouts] = {}
        self._told = threading.Condition()
        listener = _listen(world_size) if rank == 0 else None
        self._place = from_first((listener.getsockname()[1], secrets.token_hex(16)) if listener is not None else None)
        self._listener = listener
        try:
            if listener is None:
                self._connect()
        except OSError as error:
            log.warning("process 0 cannot be watched, nor can it watch this one: %s", error)
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def lost(self, wait_seconds: float = 0.0) -> Lost | None:
        """The first process that is gone though the run goes on; None if there is none within that time."""
        self._news.wait(wait_seconds)
        return self._first

    def whereabouts(self, wait_seconds: float = 3.0) -> list[Whereabouts]:
        """Where the processes are, in order of rank: those that tell within that time. One that is stopped, or busy in
        native code that keeps the interpreter to itself, tells nothing."""
        self._places = {self.rank: whereabouts(self.rank)}
        with self._lock:
            for connection in self._known:
                _send(connection, {"ask": self.rank})
        with self._told:
            self._told.wait_for(lambda: len(self._places) == self.world_size, wait_seconds)
        return [place for _, place in sorted(self._places.items())]

    def say_end(self, failure: str = "") -> None:
        """Tell the others that this process ends; with the reason, if it failed. The first word counts."""
        with self._lock:
            for connection in self._known if not self._said else ():
                _send(connection, {"end": failure[:2000], "failed": bool(failure)})
            self._said = True

    def close(self) -> None:
        """End the watch, and with it what would end this process."""
        self.say_end()
        self._ended.set()
        self._thread.join(4 * POLL_SECONDS)
        for one in (self._listener, *self._known):
            _close(one)

    # ------------------------------------------------------------------------------------------------ connections

    def _connect(self) -> None:
        port, token = self._place
        connection = socket.create_connection((_address(), port), timeout=CONNECT_SECONDS)
        _keep(connection)
        _send(connection, {"token": token, "rank": self.rank, **_me()})
        self._known[connection] = {"rank": 0, "pid": 0, "host": _address(), "rest": b""}

    def _watch(self) -> None:
        """Until the end: take in who comes, what is said, and who goes."""
        with selectors.DefaultSelector() as selector:
            for connection in (self._listener, *self._known):
                if connection is not None:
                    selector.register(connection, selectors.EVENT_READ)
            while not self._ended.is_set():
                for key, _ in selector.select(POLL_SECONDS):
                    one: Any = key.fileobj
                    if one is self._listener:
                        self._accept(selector)
                    elif not self._hear(one):
                        selector.unregister(one)
                self._end_if_stuck()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        assert self._listener is not None
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            _keep(connection)
            with self._lock:
                self._known[connection] = {"rest": b""}
            selector.register(connection, selectors.EVENT_READ)

    def _hear(self, connection: socket.socket) -> bool:
        """Take in what is said. False when nothing more will come."""
        who = self._known[connection]
        try:
            said = connection.recv(65536)
        except OSError:
            said = b""
        *lines, who["rest"] = (who["rest"] + said).split(b"\n")
        for line in lines:
            if not self._take(connection, who, line):
                return False
        if not said and "rank" in who and not who.get("ended"):
            self._note(
                Lost(who["rank"], who["pid"], who["host"], "is gone: it was killed, or it crashed"), at_once=True
            )
        return bool(said) and len(who["rest"]) < 65536

    def _take(self, connection: socket.socket, who: dict[str, Any], line: bytes) -> bool:
        """One message. False if its sender is none of us."""
        try:
            message = json.loads(line)
            if "rank" not in who:
                if not secrets.compare_digest(message["token"], self._place[1]):
                    raise ValueError
                who.update(rank=int(message["rank"]), pid=int(message["pid"]), host=str(message["host"]))
                _send(connection, {"me": _me()})
            elif "me" in message:
                who.update(message["me"])
            elif "lost" in message:
                self._note(Lost(*message["lost"]), at_once=True)
            elif "ask" in message:
                self._tell(int(message["ask"]))
            elif "place" in message:
                self._pass_on(Whereabouts(*message["place"]), int(message["to"]))
            elif "end" in message:
                who["ended"] = True
                if message["failed"]:
                    self._note(Lost(who["rank"], who["pid"], who["host"], f"failed: {message['end']}"), at_once=False)
        except (ValueError, TypeError, KeyError, AttributeError):
            with self._lock:
                self._known.pop(connection, None)
            _close(connection)
            return False
        return True

    def _note(self, lost: Lost, *, at_once: bool) -> None:
        """Somebody is gone. The first one counts: others go because of it."""
        if self._first is not None or self._ended.is_set():
            return
        self._first, self._at = lost, time.monotonic()
        self._news.set()
        if at_once:  # who failed has said so itself
            log.error("%s", lost)
        with self._lock:
            for connection, who in self._known.items():
                if self._listener is not None and who.get("rank") not in (None, lost.rank):
                    _send(connection, {"lost": list(lost)})

    def _tell(self, asking: int) -> None:
        """Say where this process is; process 0, to which all questions come, asks the others as well."""
        self._pass_on(whereabouts(self.rank), asking)
        with self._lock:
            for connection, who in self._known.items() if self._listener is not None else ():
                if who.get("rank") not in (None, asking):
                    _send(connection, {"ask": asking})

    def _pass_on(self, place: Whereabouts, asking: int) -> None:
        """To the one that asked; that may be this process, and the way to it is over process 0."""
        if asking == self.rank:
            with self._told:
                self._places[place.rank] = place
                self._told.notify_all()
            return
        with self._lock:
            for connection, who in self._known.items():
                if self._listener is None or who.get("rank") == asking:
                    _send(connection, {"place": list(place), "to": asking})

    def _end_if_stuck(self) -> None:
        """End this process where it waits for ever for one that is gone."""
        if self._first is None or time.monotonic() - self._at < self.grace_seconds or self._ended.is_set():
            return
        log.error("%s, and this process still waits for it: it ends here", self._first)
        logging.shutdown()
        os._exit(1)


def _listen(world_size: int) -> socket.socket:
    """On the loopback where all processes are on this host."""
    everywhere = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) < world_size
    listener = socket.create_server(("" if everywhere else LOOPBACK, 0), backlog=world_size)
    _open.add(listener)
    return listener


def _address() -> str:
    """Where process 0 is."""
    alone = os.environ.get("LOCAL_WORLD_SIZE", "1") == os.environ.get("WORLD_SIZE")
    return LOOPBACK if alone else os.environ.get("MASTER_ADDR", LOOPBACK)


def _me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _keep(connection: socket.socket) -> None:
    """A connection that notices when the other host is no more; sending on it never waits for long."""
    _open.add(connection)
    connection.settimeout(5.0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # who is gone is found where it is read
        connection.sendall(json.dumps(message).encode() + b"\n")


def _close(one: socket.socket | None) -> None:
    if one is not None:
        _open.discard(one)
        with contextlib.suppress(OSError):
            one.close()


# A forked loader worker shares its parent's connections and would hold them open after the parent was killed.
_open: set[socket.socket] = set()


def _let_go() -> None:
    for one in list(_open):
        one.close()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
