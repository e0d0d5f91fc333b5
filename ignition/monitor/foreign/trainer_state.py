"""trainer_state.json of Hugging Face's Trainer: its state with all it has logged, written anew at each save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ignition.monitor.growing_file import GrowingFile
from ignition.stability.number import finite


class TrainerState:
    """Follows such a file; of one that is written anew all rows come again.

    Args:
        path: of the file.
        folder: look in its checkpoints for the newest one at each look; None: it is always ``path``.
    """

    LARGEST = 2**28  # bytes; it is read whole

    def __init__(self, path: Path, folder: Path | None = None):
        self.path, self.attempts = path, True
        self._folder = folder
        self._file = GrowingFile(path)
        self.facts: dict[str, Any] = {}
        self.notes: list[str] = []
        self.bad = 0
        self._wrong = ""
        self._seen: tuple[Path, int] | None = None
        self._rows: list[dict[str, Any]] = []

    @property
    def by_epochs(self) -> bool:
        """It has a row every so many steps."""
        return False

    @property
    def problem(self) -> str:
        """Why it cannot be read; empty where it can."""
        return self._wrong

    def renewed(self) -> bool:
        """Look for a new state. Whether there is one."""
        path = newest_state(self._folder) if self._folder is not None else self.path
        if path is None:
            return False
        try:
            found = path.stat()
        except OSError as error:
            self._wrong = f"{error.strerror or error}"
            return False
        seen = (path, found.st_mtime_ns)
        if seen == self._seen:
            return False
        self.path = path
        try:
            if found.st_size > self.LARGEST:
                raise ValueError(f"is {found.st_size} bytes long")
            state = json.loads(path.read_text(encoding="utf-8", errors="replace"))
            rows = state["log_history"]
            if not isinstance(rows, list):
                raise TypeError
        except (OSError, ValueError, RecursionError, TypeError, KeyError):  # it may be just being written
            self._wrong = "is no state of a Trainer, or not a whole one"
            return False
        self._seen, self._wrong = seen, ""
        self._take(state, rows)
        return True

    def _take(self, state: dict[str, Any], rows: list[Any]) -> None:
        self._rows, self.bad = [], 0
        for row in rows:
            step = finite(row.get("step")) if isinstance(row, dict) else None
            if step is None:
                self.bad += 1
                continue
            self._rows.append({"iteration": step, **{name: value for name, value in row.items() if name != "step"}})
        facts = {"iterations": state.get("max_steps"), "epochs": state.get("num_train_epochs"),
                 "epoch": state.get("epoch")}  # fmt: skip
        self.facts = {name: known for name, value in facts.items() if (known := finite(value)) is not None}

    def again(self) -> None:
        """Begin anew with the first row."""
        self._seen = None
        self.renewed()

    def rows(self) -> list[dict[str, Any]]:
        """All rows, once."""
        rows, self._rows = self._rows, []
        return rows


STATE = "trainer_state.json"


def newest_state(folder: Path) -> Path | None:
    """The state in a Trainer's output folder, or in the newest of its checkpoints."""
    found = [path for path in (folder / STATE, *folder.glob(f"checkpoint-*/{STATE}")) if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
