"""Finds predictions that have collapsed to something trivial, from the signals of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ignition.stability.advice import RunSettings, change_rate, clip, given
from ignition.stability.finding import Advice, Finding


@dataclass(frozen=True)
class CollapseRule:
    """One kind of collapse: what its signals are then.

    Attributes:
        name: of the collapse, the finding's subject.
        limits: signal to comparison and threshold; all of them have to hold, and all signals have to be there.
        evaluations: for how many in a row.
        meaning: what has happened, as a sentence goes on after the rule's name.
        advice: what to try.
        after_ramps: evaluations do not count as long as the weight of a loss term is on its way to its value.
        takes_rate: whether a lower learning rate and clipping are advised as well.
    """

    name: str
    limits: Mapping[str, tuple[Literal["<", ">"], float]]
    evaluations: int
    meaning: str
    advice: tuple[Advice, ...] = ()
    after_ramps: bool = False
    takes_rate: bool = False

    def __post_init__(self) -> None:
        for signal, (comparison, threshold) in self.limits.items():
            if comparison not in ("<", ">") or not math.isfinite(threshold):
                raise ValueError(f"{self.name}: {signal} {comparison} {threshold}; it must be '<' or '>' and a number")
        if not self.limits or self.evaluations < 1:
            raise ValueError(f"{self.name}: it takes at least one limit, and at least one evaluation")

    def holds(self, signals: Mapping[str, float]) -> bool | None:
        """Whether all limits are passed; None where a signal is missing or not finite."""
        values = [(signals.get(signal, math.nan), *limit) for signal, limit in self.limits.items()]
        if not all(math.isfinite(value) for value, *_ in values):
            return None
        return all(value < limit if comparison == "<" else value > limit for value, comparison, limit in values)


_CENSUS = Advice("", "a photometric loss that light does not move (census, more SSIM), and stronger augmentation")
_FLOW_SCHEDULE = Advice("schedule.name=one_cycle", "a long way up to the highest rate, from a 25th of it")
_SMALLER_BETA = Advice(
    "'loss.kl={from: 0.0, to: 0.1, epochs: 50}'",
    "the model learns to use the code before the code has to look like noise",
)
_EQUAL_TERMS = Advice("", "divide each loss term by its number of channels, and predict a constant less cheaply")

RULES = (
    CollapseRule(
        "zero_flow",
        {"mean_flow": ("<", 0.1), "photometric_gain": ("<", 0.01)},
        5,
        "the flow is next to 0 px everywhere and explains the images no better than no flow does",
        (_FLOW_SCHEDULE, _CENSUS),
        takes_rate=True,
    ),
    CollapseRule(
        "zero_flow",
        {"flow_ratio": ("<", 0.05)},
        5,
        "the flow is next to nothing beside the true one",
        (_FLOW_SCHEDULE, _CENSUS),
        takes_rate=True,
    ),
    CollapseRule(
        "flat_prediction",
        {"std_ratio": ("<", 0.1)},
        5,
        "the prediction hardly varies beside the truth",
        (_EQUAL_TERMS,),
        takes_rate=True,
    ),
    CollapseRule(
        "same_for_all",
        {"batch_std_ratio": ("<", 0.1)},
        5,
        "nearly the same is predicted whatever the input is",
        (_EQUAL_TERMS,),
        takes_rate=True,
    ),
    CollapseRule(
        "posterior_collapse",
        {"active_units": ("<", 0.1)},
        3,
        "the code says nothing about the input: nearly no latent unit is active",
        (_SMALLER_BETA, Advice("", "free bits: a floor under the KL of each latent unit")),
        after_ramps=True,
    ),
    CollapseRule(
        "posterior_collapse",
        {"kl_per_dim": ("<", 0.01)},
        3,
        "the code says nothing about the input: next to no KL is spent on a latent unit",
        (_SMALLER_BETA, Advice("", "free bits: a floor under the KL of each latent unit")),
        after_ramps=True,
    ),
    CollapseRule(
        "no_object",
        {"no_object_share": (">", 0.999)},
        5,
        "all queries answer that there is no object",
        (Advice("", "a smaller weight of the class 'no object', and a look at the matching of truth and queries"),),
        takes_rate=True,
    ),
)


class Collapse:
    """Finds what a table of rules says about a recipe's signals.

    Thresholds: active units (variance of the code's mean above 0.01; Burda et al., Importance weighted autoencoders,
    2016) below a tenth of all; a KL below 0.01 nat for each unit; a flow that gains less than 1 % over no flow and is
    shorter than 0.1 px; a tenth of the truth's standard deviation. A collapse of which several rules speak is told
    once. It has ended when none of them holds.

    On real runs the KL alone could be tried: it tells both autoencoders that collapsed, by their third epoch, from the
    two that did not. In small trainings a flat prediction was found in none of 60 healthy ones; in all 10 with a 300th
    of the usual rate, which had not begun to learn; and in 5 whose units had died
    (benchmarks/evaluation_detectors.py). The other thresholds are not measured. A constant truth is a false alarm.

    Args:
        rules: what is looked for; `RULES` and your own, say.
        settings: those of the run, for the advice.

    >>> collapse = Collapse()
    >>> found = [collapse.update(i, {"std_ratio": 0.03}) for i in range(5)]
    >>> found[-1][0].message
    'flat_prediction: the prediction hardly varies beside the truth (std_ratio 0.03 < 0.1, 5 evaluations)'
    """

    def __init__(self, rules: Sequence[CollapseRule] = RULES, *, settings: RunSettings = RunSettings()):
        self.rules, self.settings = tuple(rules), settings
        self.reset()

    def reset(self) -> None:
        """Begin anew, after a known change."""
        self._last = -1
        self._began: list[int] = [0] * len(self.rules)
        self._in_row: list[int] = [0] * len(self.rules)
        self._on: list[str] = []

    @property
    def active(self) -> bool:
        """Whether some prediction is collapsed."""
        return bool(self._on)

    @property
    def collapsed(self) -> tuple[str, ...]:
        """The names of the rules that hold, in the order in which they were found."""
        return tuple(self._on)

    def update(self, iteration: int, signals: Mapping[str, float], *, ramping: bool = False) -> list[Finding]:
        """Look at an evaluation.

        Args:
            signals: numbers by name. A rule does not count an evaluation in which one of its own is missing.
            ramping: whether the weight of a loss term is still on its way to its value.
        """
        if iteration <= self._last:
            return []
        self._last = iteration
        findings = []
        for place, rule in enumerate(self.rules):
            holds = None if rule.after_ramps and ramping else rule.holds(signals)
            if holds is None:
                continue
            if holds and self._in_row[place] == 0:
                self._began[place] = iteration
            self._in_row[place] = self._in_row[place] + 1 if holds else 0
            if self._in_row[place] >= rule.evaluations and rule.name not in self._on:
                self._on.append(rule.name)
                findings.append(self._finding(iteration, place, signals))
        holding = {rule.name for rule, count in zip(self.rules, self._in_row) if count}
        self._on = [name for name in self._on if name in holding]
        return findings

    def _finding(self, iteration: int, place: int, signals: Mapping[str, float]) -> Finding:
        rule, count = self.rules[place], self._in_row[place]
        passed = [f"{name} {signals[name]:.3g} {sign} {limit:g}" for name, (sign, limit) in rule.limits.items()]
        smaller = change_rate(self.settings, 0.5, "a step that was too large may have led there")
        return Finding(
            "collapse",
            "warning",
            f"{rule.name}: {rule.meaning} ({', '.join(passed)}, {count} evaluations)",
            self._began[place],
            iteration,
            subject=rule.name,
            evidence={**{name: signals[name] for name in rule.limits}, "evaluations": count},
            confidence=0.9,
            advice=given(*rule.advice, *((smaller, clip(self.settings)) if rule.takes_rate else ())),
        )

    def state_dict(self) -> dict[str, Any]:
        """For how long each rule has held, and what has collapsed."""
        return {
            "rules": [rule.name for rule in self.rules],
            "last": self._last,
            "began": list(self._began),
            "in_row": list(self._in_row),
            "on": list(self._on),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: the state is of other rules.
        """
        names = [rule.name for rule in self.rules]
        if state["rules"] != names:
            raise ValueError(f"the saved state is of rules {state['rules']}, this one is of rules {names}")
        self._last, self._began = state["last"], list(state["began"])
        self._in_row, self._on = list(state["in_row"]), list(state["on"])
