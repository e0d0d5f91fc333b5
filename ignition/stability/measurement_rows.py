"""Hands measurements inside the network to the detectors that look at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignition.stability.advice import RunSettings
from ignition.stability.dead_units import DeadUnits, UntouchedParameters
from ignition.stability.finding import Finding
from ignition.stability.known_changes import KnownChanges
from ignition.stability.loss_terms import LossConflict, LossImbalance
from ignition.stability.number import finite
from ignition.stability.update_ratio import UpdateRatio

Row = Mapping[str, Any]


class MeasurementRows:
    """Reads ``layers``, ``untouched``, ``units`` and ``terms``.

    Args:
        settings: those of the run, for the advice.
        changes: what is changed on purpose.
    """

    KINDS = ("layers", "untouched", "units", "terms")

    def __init__(self, settings: RunSettings, changes: KnownChanges):
        self.changes = changes
        self.detectors: dict[str, Any] = {
            "update_ratio": UpdateRatio(settings=settings),
            "untouched_parameters": UntouchedParameters(),
            "dead_units": DeadUnits(settings=settings),
            "loss_imbalance": LossImbalance(settings=settings),
            "loss_conflict": LossConflict(settings=settings),
        }
        self._last_terms = -1

    def read(self, iteration: int, row: Row) -> list[Finding | None]:
        """Look at whatever was measured."""
        found: list[Finding | None] = []
        if "layers" in row:
            found += self._layers(iteration, row["layers"])
        if "untouched" in row:
            untouched = dict.fromkeys(row["untouched"], 0)
            found.append(self.detectors["untouched_parameters"].update(iteration, untouched, iteration))
        if "units" in row:
            units = {name: (dead, total) for name, (dead, total) in row["units"].items()}
            found.append(self.detectors["dead_units"].update(iteration, units))
        if "terms" in row:
            found += self._terms(iteration, row["terms"])
        return found

    def _layers(self, iteration: int, layers: Mapping[str, Row]) -> list[Finding]:
        ratios = {}
        for name, norms in layers.items():
            weight, update = finite(norms.get("weight")), finite(norms.get("update"))
            if weight and update is not None:  # a layer whose step was not measured has none
                ratios[name] = update / weight
        if not ratios:
            return []
        found: list[Finding] = self.detectors["update_ratio"].update(iteration, ratios)
        return found

    def _terms(self, iteration: int, terms: Row) -> list[Finding]:
        if iteration <= self._last_terms:
            return []
        if self.changes.of_weights(self._last_terms, iteration):
            self.detectors["loss_imbalance"].reset()
        self._last_terms = iteration
        weights = terms.get("weights", {})
        norms = {
            name: norm
            for name, value in terms.get("norms", {}).items()
            if weights.get(name) != 0 and (norm := finite(value)) is not None
        }
        cosines = {}
        for pair, value in terms.get("cosines", {}).items():
            one, _, other = pair.partition("|")
            if (cosine := finite(value)) is not None and weights.get(one) != 0 and weights.get(other) != 0:
                cosines[one, other] = cosine
        # With a norm that is not finite the shares of the others are not known.
        whole = len(norms) == sum(weights.get(name) != 0 for name in terms.get("norms", {}))
        found: list[Finding] = self.detectors["loss_imbalance"].update(iteration, norms, weights) if whole else []
        return found + self.detectors["loss_conflict"].update(iteration, cosines, norms)

    def state_dict(self) -> dict[str, Any]:
        """The iteration at which terms were last measured; detectors have states of their own."""
        return {"last_terms": self._last_terms}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._last_terms = state["last_terms"]
