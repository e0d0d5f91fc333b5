"""One checkpoint, one file: whole or absent, checked when written and when read, and nothing in it that can run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ignition.rundir import checkpoint_iteration

log = logging.getLogger(__name__)

VERSION = 1
Payload = dict[str, Any]

_PLAIN = (str, int, float, bool, bytes, complex, type(None), torch.dtype, torch.device, torch.Size)
_TEMPORARY = re.compile(r"\.tmp-(\d+)-.+")


class BadCheckpoint(RuntimeError):
    """A file that cannot be used as a checkpoint: ``path`` and ``why``; ``damaged`` if its content is broken."""

    def __init__(self, path: str | Path, why: str, *, damaged: bool = False):
        super().__init__(f"{path}: {why}")
        self.path, self.why, self.damaged = Path(path), why, damaged


class NotFinite(ValueError):
    """Weights with NaN or infinity in them; names the tensors."""


# ---------------------------------------------------------------------------------------------------------- writing


def save(path: str | Path, payload: Payload) -> None:
    """Write ``payload`` to ``path``, whole or not at all: what was there stays until the new one is on the disk.

    It is written beside its place, brought to the disk, read back, and put in its place in one step.

    Args:
        payload: a dict of tensors, numbers, text, lists and dicts, with the key ``version``.

    Raises:
        TypeError: something else is in it; names where.
        OSError: it could not be written; if the disk is full it says how much is needed and how much is free.
    """
    path, outer = Path(path), sys.exception()
    check_plain(payload)
    temporary = _temporary(path)
    try:
        try:
            with open(temporary, "wb") as file:
                torch.save(payload, file)
                file.flush()
                os.fsync(file.fileno())
            _check_sums(temporary)
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
        raise OSError(cause.errno, f"{path} was not written: {_explain(cause, path.parent, payload)}") from error


def link(source: Path, name: str) -> Path:
    """Let ``name``, beside ``source``, be the same file: a hard link, or a copy where there are none. Done in one step.

    Raises:
        OSError: it could not be made; what was there stays.
    """
    target = source.with_name(name)
    temporary = _temporary(target)
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


def clean_litter(folder: Path) -> list[Path]:
    """Take away what processes that are gone left half written; returns what was. Not while this one is saving."""
    removed = []
    for file in sorted(folder.glob(".tmp-*")):
        match = _TEMPORARY.fullmatch(file.name)
        # In a container the run that follows a killed one often has its number: own files are litter as well.
        if match and (int(match[1]) == os.getpid() or not _alive(int(match[1]))):
            with contextlib.suppress(OSError):
                os.unlink(file)
                removed.append(file)
    return removed


# ---------------------------------------------------------------------------------------------------------- reading


def load(path: str | Path, map_location: str | torch.device = "cpu") -> Payload:
    """Read the checkpoint at ``path``, after checking it: its sums, its version, and that its model is finite.

    Nothing in the file is run, wherever it comes from.

    Raises:
        BadCheckpoint: it cannot be used; says why.
    """
    path = Path(path)
    torch.empty(0, device=map_location)  # a device that is not there is no fault of the file
    _check_sums(path)
    try:
        payload = torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except OSError as error:
        raise BadCheckpoint(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:
        stranger = re.search(r"(?:GLOBAL|global|class|type) ['`\"]?((?:\w+\.)+\w+)", str(error))
        if stranger:
            why = f"refused, because it would run code when loaded: it asks for {stranger[1]}"
            raise BadCheckpoint(path, why, damaged=True) from error
        raise BadCheckpoint(path, f"does not load: {_first_line(error)}", damaged=True) from error
    _check_version(path, payload)
    try:
        check_finite(payload)
    except NotFinite as error:
        raise BadCheckpoint(path, str(error), damaged=True) from error
    return payload  # type: ignore[no-any-return]


def newest_good(
    folder: Path, *, map_location: str | torch.device = "cpu", spare: Iterable[str] = ()
) -> tuple[Path, Payload, list[BadCheckpoint]] | None:
    """The newest checkpoint of ``folder`` that can be used, by the number in its name; None where there never was one.

    Damaged ones that are newer are renamed ``*.corrupt``, with a warning that says why, and which one is used instead.

    Args:
        spare: names without a number, looked at after all others.

    Returns:
        its path, its content, and what was wrong with each newer one.

    Raises:
        BadCheckpoint: there are checkpoints and none can be used; lists each with its reason.
    """
    rejected: list[BadCheckpoint] = []
    for path in [*numbered(folder)[::-1], *(folder / name for name in spare if (folder / name).exists())]:
        try:
            payload = load(path, map_location)
        except BadCheckpoint as error:
            rejected.append(error)
            continue
        for bad in rejected:
            set_aside(bad, f"going on from {path.name}")
        return path, payload, rejected
    reasons = [f"{bad.path.name} {bad.why}" for bad in rejected]
    reasons += [f"{file.name} was found damaged earlier" for file in sorted(folder.glob("*.pt.corrupt"))]
    if not reasons:
        return None
    advice = "To start from nothing, move them away or choose another folder."
    raise BadCheckpoint(folder, "none of the checkpoints can be used:\n  " + "\n  ".join(reasons) + f"\n{advice}")


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of ``folder`` by the number in their names (``iteration-00000200.pt``), oldest first."""
    found = [(number, file) for file in folder.glob("*.pt") if (number := checkpoint_iteration(file.name)) is not None]
    return [file for _, file in sorted(found)]


def set_aside(bad: BadCheckpoint, instead: str) -> None:
    """Warn about a checkpoint that is not used, and rename it ``*.corrupt`` if it is damaged."""
    aside = bad.path.with_name(bad.path.name + ".corrupt")
    if bad.damaged:
        with contextlib.suppress(OSError):  # a folder that cannot be written: the warning says enough
            os.replace(bad.path, aside)
    kept = f", kept as {aside.name}" if bad.damaged and not bad.path.exists() else ""
    log.warning("%s %s%s; %s", bad.path, bad.why, kept, instead)


# ---------------------------------------------------------------------------------------------------------- content


def check_plain(value: Any, place: str = "") -> None:
    """Refuse what a checkpoint cannot hold, because it could not be loaded again without running code.

    >>> check_plain({"model": {"weight": torch.ones(1)}, "settings": {"path": Path("x")}})
    Traceback (most recent call last):
        ...
    TypeError: settings.path is a PosixPath; a checkpoint holds tensors, numbers, text, lists and dicts. ...
    """
    if type(value) in (torch.Tensor, torch.nn.Parameter, *_PLAIN):
        return
    if type(value) in (dict, OrderedDict, Counter):
        for key, item in value.items():
            check_plain(key, f"a key of {place or 'the checkpoint'}")
            check_plain(item, f"{place}.{key}" if place else str(key))
    elif type(value) in (list, tuple):
        for number, item in enumerate(value):
            check_plain(item, f"{place}[{number}]")
    else:
        raise TypeError(
            f"{place or 'this'} is a {type(value).__name__}; a checkpoint holds tensors, numbers, text, lists and "
            "dicts. Let state_dict() give it as one of them."
        )


def check_finite(payload: Mapping[str, Any], names: Iterable[str] = ("model",)) -> None:
    """Raise `NotFinite` if a tensor under one of ``names`` has NaN or infinity in it.

    Tensors listed under ``not_finite`` are so by design (an attention mask of -inf) and are passed over.
    """
    meant = set(payload.get("not_finite", ()))
    bad = [
        place
        for name in names
        for place, tensor in tensors(payload.get(name), name)
        if place not in meant and not is_finite(tensor)
    ]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise NotFinite(f"has values that are not finite in {', '.join(bad[:3])}{more}")


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity in it.

    >>> is_finite(torch.tensor([1.0, float("nan")])), is_finite(torch.tensor([1, 2]))
    (False, True)
    """
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.element_size() == 1:  # torch cannot ask an 8-bit float
        tensor = tensor.float()
    return bool(tensor.isfinite().all())


def tensors(value: Any, place: str) -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors within ``value``, with their dotted places."""
    if isinstance(value, torch.Tensor):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors(item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from tensors(item, f"{place}[{number}]")


# ---------------------------------------------------------------------------------------------------------- details


def _check_sums(path: Path) -> None:
    """Compare the file with the sums in it, which torch.load does not do."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
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


def _check_version(path: Path, payload: Any) -> None:
    version = payload.get("version") if isinstance(payload, dict) else None
    if not isinstance(version, int):
        raise BadCheckpoint(path, "is no checkpoint of ignition: it has no 'version'")
    if version != VERSION:
        raise BadCheckpoint(path, f"is of version {version}, and this program reads version {VERSION}")


def _temporary(path: Path) -> Path:
    return path.with_name(f".tmp-{os.getpid()}-{path.name}")


def _copy(source: Path, target: Path) -> None:
    with open(source, "rb") as original, open(target, "wb") as copy:
        shutil.copyfileobj(original, copy)
        copy.flush()
        os.fsync(copy.fileno())


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _system_error(error: BaseException, outer: BaseException | None) -> OSError | None:
    """The system's own error behind one of torch's, which has it as its context only; not one from before the save."""
    known: BaseException | None = error
    while known is not None and known is not outer:
        if isinstance(known, OSError):
            return known
        known = known.__cause__ or known.__context__
    return None


def _explain(error: OSError, folder: Path, payload: Payload) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error.strerror or str(error)
    needed = sum(
        {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for _, t in tensors(payload, "")}.values()
    )
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(folder).free
        return f"disk full: it needs {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free"
    return f"disk full: it needs {needed / 2**20:.1f} MiB"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
