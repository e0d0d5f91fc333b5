"""One checkpoint, one file: whole or absent, checked when it is written and when it is read."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any, BinaryIO

import torch

from ignition.checkpoint_file.content import NotFinite, Payload, check_finite, check_plain, moved, tensors

VERSION = 1


class BadCheckpoint(RuntimeError):
    """A file that cannot be used as a checkpoint: ``path`` and ``why``; ``damaged`` if its content is broken."""

    def __init__(self, path: str | Path, why: str, *, damaged: bool = False):
        super().__init__(f"{path}: {why}")
        self.path, self.why, self.damaged = Path(path), why, damaged


def save(path: str | Path, payload: Payload) -> None:
    """Write ``payload`` to ``path``, whole or not at all: what was there stays until the new one is on the disk.

    Args:
        payload: a dict of tensors, numbers, text, lists and dicts, with the key ``version``.

    Raises:
        TypeError: something else is in it; names where.
        OSError: it could not be written; if the disk is full it says how much is needed and how much is free.
    """
    check_plain(payload)
    # Written to a path, torch would hold the interpreter's lock all the while, and a loop beside it would stand still.
    put_in_place(Path(path), lambda file: torch.save(payload, file), _check_sums, lambda: _bytes_of(payload))


def put_in_place(
    path: Path, write: Callable[[BinaryIO], Any], check: Callable[[Path], Any], needed: Callable[[], int]
) -> None:
    """Let ``write`` fill a file beside ``path``, bring it to the disk, ``check`` it, and give it its name in one step.

    Args:
        check: reads the file back; raises `BadCheckpoint` if something is wrong with it.
        needed: how many bytes it takes, asked for if the disk is full.

    Raises:
        OSError: it could not be written, and what was there stays.
    """
    outer, temporary = sys.exception(), temporary_beside(path)
    try:
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            check(temporary)
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_folder(path.parent)
    except BadCheckpoint as error:
        raise OSError(errno.EIO, f"{path} was not written: read back, it {error.why}") from error
    except Exception as error:
        cause = _system_error(error, outer)
        if cause is None:
            raise
        raise OSError(cause.errno, f"{path} was not written: {_explain(cause, path.parent, needed)}") from error


def link(source: Path, name: str | Path) -> Path:
    """Let ``name``, beside ``source`` or a path, be the same file: a hard link, or a copy where there are none.

    Done in one step.

    Raises:
        OSError: it could not be made; what was there stays.
    """
    target = source.parent / name
    temporary = temporary_beside(target)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOENT):
                raise
            _copy(source, temporary)
        os.replace(temporary, target)
    finally:
        # os.replace does nothing, and says nothing, where both names are the same file already.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    sync_folder(target.parent)
    return target


def sync_folder(folder: Path) -> None:
    """Bring the names in ``folder`` to the disk, so that a power cut does not undo what was renamed."""
    if os.name == "nt":  # cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load(path: str | Path, map_location: str | torch.device = "cpu") -> Payload:
    """Read the checkpoint at ``path``, after checking it: its sums, its version, and that its model is finite.

    Nothing in the file is run, wherever it comes from.

    Raises:
        BadCheckpoint: it cannot be used; says why.
    """
    path = Path(path)
    _check_sums(path)
    payload = _read(path)
    _check_content(path, payload)
    return moved(payload, map_location)  # after the checks: what a device has no room for is no fault of the file


def check(path: Path) -> None:
    """Look whether `load` would take the file at ``path``, in less time and memory.

    Raises:
        BadCheckpoint: it would not; says why.
    """
    _check_sums(path)
    _check_content(path, _read(path, mapped=True))


def peek(path: Path) -> Payload:
    """The numbers and words at the top of a checkpoint, such as its iteration and score, and nothing of its tensors.

    Raises:
        BadCheckpoint: they cannot be read. Whether all the rest can be is for `check` to say.
    """
    _check_sums(path, only="data.pkl")
    payload = _read(path, mapped=True)
    _check_version(path, payload)
    return {name: value for name, value in payload.items() if isinstance(value, (int, float, str, NoneType))}


def _read(path: Path, *, mapped: bool = False) -> Any:
    """What is in the file. Where tensors are ``mapped``, their values stay there until somebody looks at them."""
    if mapped:
        with contextlib.suppress(Exception):  # not every file system can do it
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except OSError as error:
        raise BadCheckpoint(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:
        stranger = re.search(r"(?:GLOBAL|global|class|type) ['`\"]?((?:\w+\.)+\w+)", str(error))
        if stranger:
            why = f"refused, because it would run code when loaded: it asks for {stranger[1]}"
            raise BadCheckpoint(path, why, damaged=True) from error
        raise BadCheckpoint(path, f"does not load: {_first_line(error)}", damaged=True) from error


def _check_sums(path: Path, only: str = "") -> None:
    """Compare the file, or ``only`` its records of that name, with the sums in it, which torch.load does not do."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = _broken(archive, only)
    except FileNotFoundError as error:
        raise BadCheckpoint(path, "there is no such file") from error
    except OSError as error:
        if error.errno is not None and error.errno != errno.EINVAL:  # a wrong offset in the file asks for EINVAL
            raise BadCheckpoint(path, f"cannot be read: {error.strerror or error}") from error
        raise BadCheckpoint(path, f"is damaged ({_first_line(error)})", damaged=True) from error
    except zipfile.BadZipFile as error:
        why = "is empty" if path.stat().st_size == 0 else f"is cut off or no checkpoint ({_first_line(error)})"
        raise BadCheckpoint(path, why, damaged=True) from error
    except Exception as error:  # what zipfile raises depends on the bit
        raise BadCheckpoint(path, f"is damaged ({_first_line(error)})", damaged=True) from error
    if broken is not None:
        raise BadCheckpoint(path, f"is damaged (the sum of {broken} is wrong)", damaged=True)


def _broken(archive: zipfile.ZipFile, only: str) -> str | None:
    """The first record whose sum is wrong."""
    if not only:
        return archive.testzip()
    for name in archive.namelist():
        if name.rpartition("/")[2] == only:
            try:
                archive.read(name)
            except zipfile.BadZipFile:
                return name
    return None


def _check_content(path: Path, payload: Any) -> None:
    _check_version(path, payload)
    try:
        check_finite(payload)
    except NotFinite as error:
        raise BadCheckpoint(path, str(error), damaged=True) from error


def _check_version(path: Path, payload: Any) -> None:
    version = payload.get("version") if isinstance(payload, dict) else None
    if not isinstance(version, int):
        raise BadCheckpoint(path, "is no checkpoint of ignition: it has no 'version'")
    if version != VERSION:
        raise BadCheckpoint(path, f"is of version {version}, and this program reads version {VERSION}")


def temporary_beside(path: Path) -> Path:
    """Where a file is written before it is put in its place: a name that nobody who looks for ``*.pt`` will find."""
    return path.with_name(f".tmp-{os.getpid()}-{path.name}.part")


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as original, open(target, "wb") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _system_error(error: BaseException, outer: BaseException | None) -> OSError | None:
    """The system's own error behind one of torch's, which has it as its context only; not one from before the save."""
    known: BaseException | None = error
    while known is not None and known is not outer:
        if isinstance(known, OSError):
            return known
        known = known.__cause__ or known.__context__
    return None


def _explain(error: OSError, folder: Path, needed: Callable[[], int]) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error.strerror or str(error)
    size = needed() / 2**20
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free
        return f"disk full: it needs {size:.1f} MiB, {free / 2**20:.1f} MiB are free"
    return f"disk full: it needs {size:.1f} MiB"


def _bytes_of(payload: Payload) -> int:
    storages = [tensor.untyped_storage() for _, tensor in tensors(payload, "")]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
