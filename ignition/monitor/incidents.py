"""What the doctor of a run has found, as its file tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ignition.monitor.growing_file import GrowingFile
from ignition.monitor.rows import rows_of
from ignition.stability.finding import Advice, Finding
from ignition.stability.number import finite

SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class Incident:
    """One finding of a run.

    Attributes:
        iteration: when it was told; ``first`` is where it began.
        time: seconds since 1970, NaN if not known.
        name, severity, message, subject, advice: as in `Finding`.
        done: what was done about it, in words; empty where nothing was.
    """

    iteration: int
    first: int
    time: float
    name: str
    severity: str
    message: str
    subject: str = ""
    advice: tuple[Advice, ...] = ()
    done: str = ""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Incident | None:
        """The incident of a row, whatever else it holds; None where it says none."""
        name, iteration, time = row.get("name"), finite(row.get("iteration")), finite(row.get("time"))
        if not isinstance(name, str) or iteration is None:
            return None
        first, severity, advice = finite(row.get("first")), row.get("severity"), row.get("advice")
        return cls(
            iteration=int(iteration),
            first=int(iteration if first is None else first),
            time=float("nan") if time is None else time,
            name=name,
            severity=severity if severity in SEVERITIES else "info",
            message=_text(row.get("message")) or name,
            subject=_text(row.get("subject")),
            advice=tuple(
                Advice(_text(each.get("override")), _text(each.get("why")))
                for each in (advice if isinstance(advice, list) else ())
                if isinstance(each, dict)
            ),
            done=_text(row.get("done")),
        )

    @classmethod
    def of_finding(cls, finding: Finding, time: float = float("nan")) -> Incident:
        """That of what was found in rows by whoever reads them."""
        return cls(
            iteration=finding.last,
            first=finding.first,
            time=time,
            name=finding.name,
            severity=finding.severity,
            message=finding.message,
            subject=finding.subject,
            advice=finding.advice,
        )


class Incidents:
    """Those of a run, the oldest first; of more than ``MOST`` the first half and the newest half.

    Attributes:
        found: they.
        count: how many there were.
        bad: lines that hold none.
    """

    MOST = 2000

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.found: list[Incident] = []
        self.count = self.bad = 0

    def add(self, incident: Incident) -> None:
        """One more."""
        self.count += 1
        self.found.append(incident)
        if len(self.found) > self.MOST:
            del self.found[self.MOST // 2]

    def read(self, file: GrowingFile) -> bool:
        """Take in what is new in ``file``. Whether anything is."""
        changed = file.renewed()
        if changed:
            self.clear()
        while lines := file.read():
            changed = True
            rows, bad = rows_of(lines)
            self.bad += bad
            for row in rows:
                incident = Incident.of_row(row)
                if incident is None:
                    self.bad += 1
                else:
                    self.add(incident)
        return changed


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
