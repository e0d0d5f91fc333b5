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
    """

    key: str
    what: str
    why: str
    remedy: str


def objections_of(values: Any) -> list[Objection]:
    """Those in the values of a file: a list of objects, or an object with ``objections``; what is none is passed over.

    >>> objections_of([{"key": "optimizer.lr", "what": "too high", "remedy": "optimizer.lr=1e-4"}, 7])
    [Objection(key='optimizer.lr', what='too high', why='', remedy='optimizer.lr=1e-4')]
    """
    if isinstance(values, dict):
        values = values.get("objections")
    found = []
    for value in values if isinstance(values, list) else ():
        if isinstance(value, dict) and (value.get("key") or value.get("what") or value.get("message")):
            what, remedy = value.get("what") or value.get("message"), value.get("remedy") or _advised(value)
            found.append(Objection(*map(_text, (value.get("key"), what, value.get("why"), remedy))))
    return found


def _advised(value: dict[str, Any]) -> str:
    """The settings of the first advice that has some."""
    advice = value.get("advice")
    each = [_text(one.get("override")) for one in advice if isinstance(one, dict)] if isinstance(advice, list) else []
    return next(filter(None, each), "")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return value if isinstance(value, str) else "" if value is None else str(value)
