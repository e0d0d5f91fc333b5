"""Runs as plain values, for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ignition.monitor.grouped import counted, grouped
from ignition.monitor.run import Run


def described(runs: Sequence[Run]) -> dict[str, Any]:
    """One object: what each run has come to, and over all of them how much there is to look at.

    ``last`` and ``best`` of a run have the metrics' names as keys; numbers that are not finite are written as strings.
    """
    return {"runs": [_run(run) for run in runs], "findings": sum(trouble(run) for run in runs)}


def trouble(run: Run) -> int:
    """How much there is in a run that should be looked at: findings that are more than a note, each name and subject
    once, objections to its config, and an end that should not be.
    """
    counts = counted(grouped(run.findings))
    return counts["critical"] + counts["warning"] + len(run.objections) + run.state.lost


def _run(run: Run) -> dict[str, Any]:
    state, curves = run.state, run.curves
    values = asdict(state)
    values |= {"best": {}, "last": {}}
    if state.metric is not None and state.best is not None:
        values["best"] = {state.metric: state.best, "iteration": state.best_iteration}
    for name in curves.names():
        found = curves.last(name)
        if found is not None:
            values["last"][name] = found[1]
    return {
        "name": run.name,
        "path": str(run.path),
        **values,
        "findings": [_finding(incident) for incident in run.findings],
        "objections": [objection.row() for objection in run.objections],
        "problems": list(run.problems),
        "notes": list(run.notes),
    }


def _finding(incident: Any) -> dict[str, Any]:
    values = asdict(incident)
    values["advice"] = [asdict(advice) for advice in incident.advice]
    return values
