"""What a review objects to: a setting, where it stands, what is wrong with it, and settings to paste instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ignition.stability import Advice

SPACE = "    "


@dataclass(frozen=True)
class Objection:
    """One setting that a run would suffer from.

    Attributes:
        name: the rule, as docs/review.md and ``review.accept`` call it: ``rate_too_high``.
        key: the setting, as it is overridden: ``optimizer.lr``.
        message: one sentence with the numbers in it.
        why: what comes of it.
        source: who says so: a document that the rule is from, or a paper with its year; empty where it is arithmetic.
        advice: what to set instead, the most promising first. Pasted behind the command it ends this objection.
        place: where the setting stands: file, line and column, or the override as it was typed.

    >>> objection = Objection("rate_too_high", "optimizer.lr", "the rate is 0.1", "steps overshoot", "the vae document",
    ...                       (Advice("optimizer.lr=1e-3", "smaller steps"),), "configs/vae.yaml:9:3")
    >>> print(objection.text())
    configs/vae.yaml:9:3: the rate is 0.1 [rate_too_high]
        steps overshoot (the vae document)
        try: optimizer.lr=1e-3 (smaller steps)
    >>> Objection.of(objection.row()) == objection
    True
    """

    name: str
    key: str
    message: str
    why: str
    source: str = ""
    advice: tuple[Advice, ...] = ()
    place: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Objection:
        """The objection of which `row` is the row; what the row has besides is passed over.

        Raises:
            ValueError: something is missing, or is no text.
        """
        values = {item.name: row[item.name] for item in fields(cls) if item.name in row}
        try:
            advice = tuple(Advice(**dict(one)) for one in values.pop("advice", ()))
            objection = cls(**values, advice=advice)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{dict(row)!r} is no objection: {error}") from error
        for item in fields(cls):
            if item.name != "advice" and not isinstance(getattr(objection, item.name), str):
                raise ValueError(f"{dict(row)!r} is no objection: its {item.name} is no text")
        return objection

    def row(self) -> dict[str, Any]:
        """It as plain values, for a file."""
        return {**asdict(self), "advice": [asdict(advice) for advice in self.advice]}

    def at(self, place: str) -> Objection:
        """The same, and where its setting stands."""
        return replace(self, place=place)

    @property
    def because(self) -> str:
        """What comes of it, and who says so."""
        return f"{self.why} ({self.source})" if self.source else self.why

    def text(self) -> str:
        """It as a person reads it: some lines, the first with the place."""
        lines = [f"{self.place}: {self.message} [{self.name}]"]
        lines.append(f"{SPACE}{self.because}")
        for advice in self.advice:
            setting = f"{advice.override} ({advice.why})" if advice.override and advice.why else ""
            lines.append(f"{SPACE}try: {setting or advice.override or advice.why}")
        return "\n".join(lines)
