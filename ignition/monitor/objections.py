"""What a review of a run's config objects to, as its file tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Objection:
    """One of them.

    Attributes:
        key: the setting it is about, ``optimizer.lr``.
        what: what is wrong with it.
        why: what it leads to.
        remedy: settings that can be pasted behind the command; empty where none helps.
        severity: as of findings.
    """

    key: str
    what: str
    why: str
    remedy: str
    severity: str = "warning"


def objections_of(values: Any) -> list[Objection]:
    """Those in the values of a file: a list of objects, or an object that holds one; what is none is passed over.

    >>> objections_of([{"key": "optimizer.lr", "what": "too high", "remedy": "optimizer.lr=1e-4"}, 7])
    [Objection(key='optimizer.lr', what='too high', why='', remedy='optimizer.lr=1e-4', severity='warning')]
    """
    if isinstance(values, dict):
        values = next((value for value in values.values() if isinstance(value, list)), [])
    found = []
    for value in values if isinstance(values, list) else ():
        if isinstance(value, dict) and (value.get("key") or value.get("what")):
            key, what, why, remedy = (_text(value.get(name)) for name in ("key", "what", "why", "remedy"))
            found.append(Objection(key, what, why, remedy, _text(value.get("severity")) or "warning"))
    return found


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return value if isinstance(value, str) else "" if value is None else str(value)
