"""The saves of a run: process 0 writes, here or in the background, and all processes learn the same of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from ignition import distributed
from ignition.checkpoint_file.background import Background
from ignition.checkpoint_file.best import Scored
from ignition.checkpoint_file.content import Payload, check_plain
from ignition.checkpoint_file.folder import clean_litter
from ignition.checkpoint_file.host_copy import HostCopy
from ignition.checkpoint_file.keeping import Found, KeptFiles, Written

log = logging.getLogger(__name__)

T = TypeVar("T")


class SavingFailed(RuntimeError):
    """Several saves in a row failed: what is trained from here on would be lost."""


class Save(NamedTuple):
    """Which save it is: of an iteration, with what was scored by then; ``measured_only`` is none to go on from."""

    iteration: int
    scored: tuple[int, float] | None
    measured_only: bool = False


class Saving:
    """Writes checkpoints, counts what fails, and finds them again. All processes call the same methods together.

    Args:
        files: the folder and what stays in it; process 0 uses it.
        asynchronous: write a copy of the state in a thread. What came of it is told by the next call.
        max_failures: saves that fail in this many iterations in a row raise `SavingFailed`.

    Attributes:
        last_path: the newest file that was written or found.
        ranking: the best ones that are there, the best first.
        newest: the newest save to go on from that is whole, or is being written.
        failures: iterations in a row in which saving failed.
    """

    def __init__(self, files: KeptFiles, *, asynchronous: bool, max_failures: int):
        self.files, self.max_failures = files, max_failures
        self.last_path: Path | None = None
        self.ranking: list[Scored] = []
        self.newest: Save | None = None
        self.failures = 0
        self._failed_at: int | None = None
        self._folder_is_ours = False
        self._background = Background(f"writing into {files.folder}") if asynchronous else None
        self._host_copy = HostCopy()
        self._under_way: Save | None = None

    def write(self, save: Save, payload: Payload) -> bool:
        """Write a checkpoint, or begin to. False if it failed, which is logged.

        Raises:
            SavingFailed: so did those before it.
            TypeError: something in the payload cannot be saved.
        """
        self.wait()
        if self._background is None:
            write = partial(self.files.write, payload, self.ranking, measured_only=save.measured_only)
            return self._conclude(save, _on_first(write))
        written = _on_first(partial(self._begin, save, payload))
        if written is not None:
            return self._conclude(save, written)
        self._under_way = save
        return True

    def is_known(self, save: Save) -> bool:
        """Whether that one is there, or on its way."""
        return save in (self.newest, self._under_way)

    def wait(self) -> bool:
        """Wait until nothing is being written. False if what was has failed, which is logged.

        Raises:
            SavingFailed: so did those before it.
        """
        if self._under_way is None or self._background is None:
            return True
        save = self._under_way
        try:
            written = _on_first(self._background.result)
        except Exception:
            self._under_way = None
            raise
        self._under_way = None  # not where a Ctrl-C ended the waiting
        return self._conclude(save, written, was_told=distributed.rank() == 0)

    def finish(self) -> None:
        """Wait for the own thread alone, where the other processes are not here, perhaps. `wait` tells what it did."""
        if self._background is not None:
            self._background.wait()

    def _begin(self, save: Save, payload: Payload) -> Written | None:
        """Copy the state, and let the thread write the copy. Where there is no memory for one, write the state."""
        check_plain(payload)
        ranking, last_path = self.ranking, self.last_path
        try:
            copy = self._host_copy.take(payload)
        except (MemoryError, RuntimeError) as error:
            log.warning("the state is written at once, since it could not be copied: %s", error)
            return self.files.write(payload, ranking, measured_only=save.measured_only)

        def write() -> Written:
            self._host_copy.wait()
            written = self.files.write(copy, ranking, measured_only=save.measured_only)
            if written.problem:  # told now: it may be long until somebody asks
                log.error("%s. The run goes on", _told(save, written, last_path))
            return written

        assert self._background is not None
        self._background.start(write)
        return None

    def _conclude(self, save: Save, written: Written, was_told: bool = False) -> bool:
        """Take in what came of a save."""
        what = _told(save, written, self.last_path)
        self.last_path, self.ranking = written.path or self.last_path, written.ranking
        if not written.problem:
            self.newest = self.newest if save.measured_only else save
            self.failures, self._failed_at = 0, None
            return True
        if written.is_failure and self._failed_at != save.iteration:
            self.failures, self._failed_at = self.failures + 1, save.iteration
        if self.failures >= self.max_failures:
            raise SavingFailed(f"{what}. {self.failures} saves in a row failed")
        count = f", {self.failures} of {self.max_failures}" if written.is_failure else ""
        if not was_told:
            log.error("%s. The run goes on%s", what, count)
        return False

    # ------------------------------------------------------------------------------------------------- the folder

    def check_folder(self) -> None:
        """Once, before the first save: that nothing of another run is there, which would get mixed up with this one.

        Raises:
            FileExistsError: there is; names it.
        """
        if self._folder_is_ours:
            return
        folder = self.files.folder
        there = _on_first(lambda: sorted(file.name for file in folder.glob("*.pt")))
        if there:
            raise FileExistsError(
                f"{folder} holds checkpoints of another run ({', '.join(there)}): "
                "go on with it by restore(), or choose another folder"
            )
        self._claim_folder()

    def find(self) -> Found | None:
        """The newest good checkpoint, which process 0 reads: the folder need not be there for the others.

        Raises:
            BadCheckpoint: there are some, and none can be used.
        """
        try:
            self.wait()
        except SavingFailed as error:  # the way back is open all the same
            log.error("%s", error)
        found = _on_first(self.files.find)
        self._claim_folder()
        return found

    def go_on_from(self, found: Found, save: Save) -> None:
        """Take up what was found, once it is loaded."""
        _on_first(partial(self.files.renew_weights, found))
        self.last_path, self.ranking, self.newest = found.path, found.ranking, save

    def _claim_folder(self) -> None:
        self._folder_is_ours = True
        if distributed.rank() == 0:
            clean_litter(self.files.folder)


def _told(save: Save, written: Written, last_path: Path | None) -> str:
    """What went wrong, in words, with what is still good."""
    if written.path:
        return f"{written.path} is good, but not all that goes with it: {written.problem}"
    good = f"the newest good one is {last_path.name}" if last_path else "there is no earlier one"
    return f"no checkpoint of iteration {save.iteration}: {written.problem}; {good}"


def _on_first(action: Callable[[], T]) -> T:
    """What ``action`` gives on process 0, on every process; what it raises there is raised on all."""
    result, error, words = None, None, None
    if distributed.rank() == 0:
        try:
            result = action()
        except Exception as reason:
            error, words = reason, f"{type(reason).__name__}: {reason}"
    result, words = distributed.from_first((result, words))
    if error is not None:
        raise error
    if words is not None:
        raise RuntimeError(f"process 0 ended with {words}")
    return result  # type: ignore[return-value]
