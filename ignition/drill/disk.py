"""A disk that is full, and processes that die in the middle of a save."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess  # mount and umount, with fixed words  # nosec B404
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ignition.checkpoint_file import file as checkpoint_file_file

BALLAST = "ballast"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A disk of ``size`` bytes in memory at ``folder``, as long as the block lasts. False where none can be mounted."""
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    options = f"size={-(-size // 4096) * 4096}"
    mounted = False
    if mount and umount and sys.platform == "linux" and os.geteuid() == 0:
        words = [mount, "-t", "tmpfs", "-o", options, "none", str(folder)]
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0  # nosec B603
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run([str(umount), "-l", str(folder)], capture_output=True, check=False)  # nosec B603


def fill(folder: Path) -> None:
    """Leave no byte of the disk that ``folder`` is on: for small ones only."""
    with open(folder / BALLAST, "wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass


def free(folder: Path) -> None:
    """Give the space back."""
    (folder / BALLAST).unlink(missing_ok=True)


class FailingWrites:
    """In place of a disk that is full: checkpoints are opened, and then nothing can be written into them."""

    def begin(self) -> None:
        """From here on."""
        vars(checkpoint_file_file)["open"] = _without_space

    def end(self) -> None:
        """There is space again."""
        del vars(checkpoint_file_file)["open"]


def _without_space(path: Any, mode: str = "r") -> Any:
    if "w" not in mode:
        return open(path, mode)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die_in_next_save(moment: str) -> None:
    """Let SIGKILL come in the next save: ``half written``, ``without its name``, or ``without last.pt``."""
    if moment == "half written":
        vars(checkpoint_file_file)["open"] = _torn
        return
    begins = "iteration-" if moment == "without its name" else "last.pt"
    replace: Callable[..., None] = os.replace

    def die(source: Any, target: Any, **options: Any) -> None:
        if Path(target).name.startswith(begins):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **options)

    os.replace = die  # type: ignore[assignment]


def _torn(path: Any, mode: str = "r") -> Any:
    return _Torn(path, mode) if "w" in mode else open(path, mode)


class _Torn:
    """A file whose writer dies in the middle of its second piece."""

    def __init__(self, path: Any, mode: str):
        self._file, self._pieces = open(path, mode, buffering=0), 0  # noqa: SIM115

    def __enter__(self) -> _Torn:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        self._pieces += 1
        data = bytes(data)
        if self._pieces == 2:
            self._file.write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return self._file.write(data)
