"""Reads a log with the eyes of the doctor, where no doctor has watched the run itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ignition.monitor.incidents import Incident, Incidents
from ignition.monitor.rows import Row
from ignition.stability import Doctor, RunSettings
from ignition.stability.number import finite


class Diagnosis:
    """What a `Doctor` finds in rows.

    Args:
        settings: of the run, for the advice.
        metric, mode: of an evaluation, the one that matters most.
        rules: as of `Doctor`.

    Attributes:
        incidents: what was found.
    """

    def __init__(
        self,
        settings: RunSettings = RunSettings(),
        *,
        metric: str = "val/loss",
        mode: str = "min",
        rules: str = "relative",
    ):
        self._settings, self._metric, self._mode, self._rules = settings, metric, mode, rules
        self.incidents = Incidents()
        self.begin()

    def begin(self) -> None:
        """Begin anew, as the log does."""
        self.incidents.clear()
        self._doctor = Doctor(
            self._settings,
            metric=self._metric,
            mode="max" if self._mode == "max" else "min",
            rules="absolute" if self._rules == "absolute" else "relative",
        )

    def read(self, rows: Iterable[Row]) -> None:
        """Look at further rows, in their order; one that cannot be one of a log is passed over."""
        for row in rows:
            place = finite(row.get("iteration"))
            if place is None or not 0 <= place < 2**53:
                continue
            for finding in self._doctor.read(row):
                time = finite(row.get("time"))
                self.incidents.add(Incident.of_finding(finding, float("nan") if time is None else time))

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Diagnosis:
        """That of a run of ours, by the sections of its config."""
        optimizer, schedule, data, clip, trainer, checkpoint, stability = (
            _section(config, name)
            for name in ("optimizer", "schedule", "data", "clip", "trainer", "checkpoint", "stability")
        )
        batch_size, workers = finite(data.get("batch_size")), finite(data.get("workers"))
        settings = RunSettings(
            learning_rate=finite(optimizer.get("lr")),
            max_norm=finite(clip.get("max_norm")) if clip.get("kind") == "norm" else 0.0,
            warmup_epochs=finite(schedule.get("warmup_epochs")),
            batch_size=int(batch_size) if batch_size is not None else None,
            workers=int(workers) if workers is not None else None,
            half_precision=trainer.get("amp") == "fp16",
            weight_decay=finite(optimizer.get("weight_decay")),
            weighted=bool(config.get("loss")),
        )
        metric = checkpoint.get("metric")
        return cls(
            settings,
            metric=metric if isinstance(metric, str) else "val/loss",
            mode="max" if checkpoint.get("mode") == "max" else "min",
            rules="absolute" if stability.get("rules") == "absolute" else "relative",
        )


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
