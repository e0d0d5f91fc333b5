"""A process that leaves nothing behind, whatever ends the one that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess  # ignition itself, again  # nosec B404
import sys
from collections.abc import Iterator
from pathlib import Path

GRACE_SECONDS = 15.0  # torchrun ends its processes within this time, when it is asked to

_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK",
                "ROLE_WORLD_SIZE", "ROLE_NAME", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # fmt: skip


@contextlib.contextmanager
def started(words: list[str], log: Path, *, processes: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """``python <words>``, by torchrun where there are several ``processes``, in a session of its own.

    What it says goes to ``log``. At the end of the block it is ended, if it has not done so itself.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_TORCHRUN and not name.startswith("TORCHELASTIC")
    }
    process = None
    try:
        with open(log, "wb") as output, _heeded_later():
            process = subprocess.Popen([sys.executable, *launcher, *words], stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=output, env=environment, start_new_session=True)  # fmt: skip  # nosec B603
        yield process
    finally:
        if process is not None:
            _end(process, ask=processes > 1)  # its processes are in sessions of their own


def _end(process: subprocess.Popen[bytes], *, ask: bool) -> None:
    if ask and process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # loader workers as well
    process.wait()


@contextlib.contextmanager
def _heeded_later() -> Iterator[None]:
    """Signals that come within the block are heeded after it: a process that is being started must not be lost."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    for number in came:
        signal.raise_signal(number)
