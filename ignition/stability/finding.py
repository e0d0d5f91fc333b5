"""What the doctor has found: a name, how bad it is, the numbers that show it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Severity = Literal["info", "warning", "critical"]

# What can be found, by the names that events, policies and incidents use.
NAMES = (
    "non_finite", "non_finite_evaluation", "loss_spike", "slow_divergence", "divergence", "exploding_term",
    "gradient_explosion",
    "gradient_vanishing", "learning_rate_too_high", "learning_rate_too_low", "update_ratio", "data_wait", "plateau",
    "slow_convergence", "unstable_validation", "overfitting", "dead_term", "collapse", "loss_imbalance",
    "loss_conflict", "dead_units", "untouched_parameters", "recovered",
)  # fmt: skip

# Those about single steps, which a step that is run again can show again.
ABOUT_STEPS = frozenset(
    {"non_finite", "loss_spike", "gradient_explosion", "slow_divergence", "divergence", "exploding_term"}
)


@dataclass(frozen=True)
class Advice:
    """Something to try: settings that can be pasted behind the command, and why they should help.

    Attributes:
        override: ``key=value`` as `ignition.run` takes it, several with spaces between; empty where no setting helps.
        why: one sentence.
    """

    override: str
    why: str


@dataclass(frozen=True)
class Finding:
    """One thing that was found in a run.

    Attributes:
        name: what it is, as in the events and in the documentation: ``loss_spike``, ``overfitting``.
        severity: ``info`` is worth knowing, ``warning`` worth a look, ``critical`` loses the run.
        message: one sentence with the numbers in it.
        first, last: the iterations between which it shows.
        subject: what it is about where there are several: a loss term, a metric, a parameter; else empty.
        evidence: the numbers that show it, by name; plain numbers, strings and lists of them.
        confidence: 0 to 1, how often such a finding was right when it was measured.
        advice: what to try, the most promising first.

    >>> finding = Finding("loss_spike", "warning", "loss 9.1 at iteration 40, 12 scales above 1.2", 40, 40)
    >>> finding.row()["name"], finding.row()["evidence"]
    ('loss_spike', {})
    """

    name: str
    severity: Severity
    message: str
    first: int
    last: int
    subject: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    confidence: float = 1.0
    advice: tuple[Advice, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Finding:
        """The finding of which `row` is the row; what the row has besides is passed over."""
        values = {item.name: row[item.name] for item in fields(cls) if item.name in row}
        return cls(**{**values, "advice": tuple(Advice(**advice) for advice in row.get("advice", ()))})

    def row(self) -> dict[str, Any]:
        """It as plain values, for a file of incidents."""
        row = asdict(self)
        row["advice"] = [asdict(advice) for advice in self.advice]
        return row
