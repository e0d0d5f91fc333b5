"""How good the detectors are that look at evaluations: on real runs, beside the rules that people use.

The very classes run, evaluation by evaluation. Settings were chosen on the runs of one optimizer and are judged on those
of the others (`evaluation_curves.Run.for_tuning`); how a run ended is decided there. Intervals are 95 % of bootstraps
over configurations: five runs of one configuration that differ in their seed are not five independent ones.

    python benchmarks/evaluation_detectors.py [--curves FOLDER] [--parts runs noise plateau jumps slow autoencoders twins]

Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation_curves import CURVES, RECONSTRUCTED, Run, autoencoders, usual_targets, read

from ignition.stability.absolute import AbsoluteLimits
from ignition.stability.collapse import Collapse
from ignition.stability.dead_term import DeadTerm
from ignition.stability.dead_units import DeadUnits
from ignition.stability.finding import Finding
from ignition.stability.overfitting import Overfitting
from ignition.stability.plateau import Plateau
from ignition.stability.slow_convergence import SlowConvergence
from ignition.stability.trend import around_line
from ignition.stability.unstable_validation import UnstableValidation

RESAMPLES = 2000
Rule = Callable[[Run], int | None]  # the evaluation at which it first speaks


class PlainGL:
    """Prechelt's GL above 5 %, three in a row, and nothing else."""

    def __init__(self, alpha: float = 5.0):
        self._alpha, self._best, self._in_row = alpha, math.inf, 0

    def update(self, iteration: int, validation: float) -> bool:
        self._best = min(self._best, validation)
        self._in_row = self._in_row + 1 if 100 * (validation / self._best - 1) > self._alpha else 0
        return self._in_row >= 3


class Patience:
    """No validation loss better than the best by a ten-thousandth, for so many evaluations: ReduceLROnPlateau."""

    def __init__(self, patience: int = 10, threshold: float = 1e-4):
        self._patience, self._threshold, self._best, self._waited = patience, threshold, math.inf, 0

    def update(self, iteration: int, validation: float) -> bool:
        if math.isinf(self._best) or validation < self._best * (1 - self._threshold):
            self._best, self._waited = validation, 0
            return False
        self._waited += 1
        return self._waited > self._patience


class ScatterAlone:
    """Scatter around a line through 5 above 10 % of the gain, and nothing else: a steep fall is scatter as well."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def update(self, iteration: int, validation: float) -> bool:
        self._values.append(validation)
        gain = self._values[0] - min(self._values)
        return len(self._values) >= 5 and around_line(range(5), self._values[-5:]) > 0.1 * gain


def first(found: Iterable[Any]) -> int | None:
    """The place of the first that is something."""
    return next((place for place, what in enumerate(found) if what), None)


def on_validation(make: Callable[[], Any]) -> Rule:
    def rule(run: Run) -> int | None:
        detector = make()
        return first(detector.update(int(i), float(v)) for i, v in zip(run.step, run.validation))

    return rule


def on_both(make: Callable[[], Any], name: str = "") -> Rule:
    """For those that look at the training loss as well; ``name``: only such findings count."""

    def rule(run: Run) -> int | None:
        detector = make()
        found = (detector.update(int(i), float(t), float(v)) for i, t, v in zip(run.step, run.training, run.validation))
        return first([f for f in what if f.name == name] if name and what else what for what in found)

    return rule


def with_target(run: Run) -> int | None:
    if run.target is None or len(run.target) != len(run.step):
        return on_both(Overfitting)(run)
    detector = Overfitting(target_mode=run.target_mode)  # type: ignore[arg-type]
    rows = zip(run.step.tolist(), run.training.tolist(), run.validation.tolist(), run.target.tolist())
    return first(detector.update(*row) for row in rows)


def on_training(run: Run) -> int | None:
    detector = SlowConvergence()
    return first(detector.update(int(i), float(t)) for i, t in zip(run.step, run.training))


RULES: dict[str, Rule] = {
    "**Overfitting**": on_both(Overfitting),
    "Overfitting, and its target given": with_target,
    "Overfitting, alpha 5": on_both(lambda: Overfitting(5.0)),
    "GL above 5 %, 3 in a row": on_validation(PlainGL),
    "**UnstableValidation**": on_validation(UnstableValidation),
    "scatter around a line above 10 % of the gain": on_validation(ScatterAlone),
    "**Plateau**": on_validation(Plateau),
    "**SlowConvergence**": on_training,
    "patience 10 (ReduceLROnPlateau)": on_validation(Patience),
    "patience 5": on_validation(lambda: Patience(5)),
    "absolute: deviation above 0.05": on_both(AbsoluteLimits, "unstable_validation"),
    "absolute: gap above 0.10": on_both(AbsoluteLimits, "overfitting"),
    "absolute: improvement below 0.05 in 5": on_both(AbsoluteLimits, "slow_convergence"),
    "absolute: any of them": on_both(AbsoluteLimits),
}


def share(hits: Sequence[bool], runs: Sequence[Run], digits: int = 1) -> str:
    """Per cent, and its interval over configurations (Clopper & Pearson's where all or none are hit)."""
    if not runs:
        return "–"
    groups: dict[str, int] = {}
    group = np.array([groups.setdefault(run.configuration, len(groups)) for run in runs])
    hit = np.bincount(group, weights=np.array(hits, float))
    size = np.bincount(group)
    weights = np.random.default_rng(0).multinomial(len(size), np.full(len(size), 1 / len(size)), size=RESAMPLES)
    low, high = np.quantile(100 * (weights @ hit) / (weights @ size), [0.025, 0.975])
    if hit.sum() == 0:  # nothing to draw from: what would still give none of so many configurations in 1 of 40 cases
        high = 100 * (1 - 0.025 ** (1 / len(size)))
    elif hit.sum() == size.sum():
        low = 100 * 0.025 ** (1 / len(size))
    return f"{100 * hit.sum() / len(runs):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def told(rule: Rule, runs: Sequence[Run]) -> str:
    hits = [rule(run) is not None for run in runs]
    return f"{share(hits, runs)}, {sum(hits)} of {len(runs)}"


def table(title: str, *columns: str) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def ended(runs: Sequence[Run], how: str) -> list[Run]:
    return [run for run in runs if run.end == how]


def whole_runs(runs: Sequence[Run]) -> None:
    """What each rule says of runs that ended well and of those that overfit."""
    for part, chosen in (
        ("Judged: optimizers that nothing was tuned on", [run for run in runs if not run.for_tuning]),
        ("All runs", runs),
    ):
        table(f"{part}, {len(chosen)} runs: share that a rule speaks of, %", "rule", "overfit runs", "good runs")
        for name, rule in RULES.items():
            row(name, told(rule, ended(chosen, "overfit")), told(rule, ended(chosen, "good")))
    usual = usual_targets(runs)
    table(
        "Overfitting, by what decides that a run has overfit",
        "decided by", "runs", "found, %", "of the run still to come", "above the best then, %", "at the end, %",
    )  # fmt: skip
    by_loss = {id(run) for run in ended(runs, "overfit")}
    by_target = {id(run) for run in runs if run.end_by_target(usual[run.workload]) == "overfit"}
    for label, members in (
        ("the last validation loss", by_loss),
        ("the last target alone", by_target),
    ):
        for part, wanted in (("judged", (False,)), ("all", (True, False))):
            labelled = [run for run in runs if id(run) in members and run.for_tuning in wanted]
            places = [on_both(Overfitting)(run) for run in labelled]
            found = [(place, run) for place, run in zip(places, labelled) if place is not None]
            left = np.median([1 - run.step[place] / run.step[-1] for place, run in found])
            then = np.median([excess(run, place) for place, run in found])
            last = np.median([excess(run, len(run.step) - 1) for _, run in found])
            hits = [place is not None for place in places]
            row(f"{label}, {part}", len(labelled), share(hits, labelled), f"{left:.2f}", f"{then:.1f}", f"{last:.1f}")
    table(
        "How the runs ended of which Overfitting speaks",
        "runs",
        "overfit",
        "between",
        "diverging",
        "good",
        "best given up",
    )
    for part, chosen in (("judged", [run for run in runs if not run.for_tuning]), ("all", runs)):
        found = [(place, run) for run in chosen if (place := on_both(Overfitting)(run)) is not None]
        ends = [sum(run.end == how for _, run in found) for how in ("overfit", "between", "diverging", "good")]
        lost = sum(run.validation[: place + 1].min() > run.validation.min() for place, run in found)
        row(f"{part}, {len(found)}", *ends, f"in {lost} runs")


def excess(run: Run, place: int) -> float:
    """Per cent above the best so far."""
    return 100 * (run.validation[place] / run.validation[: place + 1].min() - 1)


def noise(runs: Sequence[Run]) -> None:
    """The same with validation losses as noisy as those of small validation sets."""
    names = ("**Overfitting**", "GL above 5 %, 3 in a row")
    table(
        "Noise added to the validation losses (judged part): overfit / good runs spoken of, %",
        "noise, % of the loss", *names,
    )  # fmt: skip
    chosen = [run for run in runs if not run.for_tuning]
    for percent in (0, 1, 2, 5, 10):
        random = np.random.default_rng(0)
        noisy = [
            (run.end, changed(run, run.validation * np.exp(percent / 100 * random.normal(size=len(run.step)))))
            for run in chosen
        ]
        cells = []
        for name in names:
            parts = [[run for end, run in noisy if end == how] for how in ("overfit", "good")]
            cells.append(" / ".join(share([RULES[name](run) is not None for run in part], part, 0) for part in parts))
        row(percent, *cells)


def changed(run: Run, validation: np.ndarray, begin: int = 0) -> Run:
    """The run with other validation losses, and from its evaluation ``begin`` on."""
    return Run(
        run.optimizer,
        run.workload,
        run.configuration,
        run.step[begin:],
        run.training[begin:],
        validation[begin:],
        None,
        None,
    )


def plateaus(runs: Sequence[Run]) -> None:
    """Whether anything comes after a plateau."""
    table(
        "Plateaus (judged part, runs of at least 15 evaluations)",
        "rule", "speaks of, %", "of the run still to come", "and then better by less than 1 %", "by less than 5 %",
    )  # fmt: skip
    chosen = [run for run in runs if not run.for_tuning and len(run.step) >= 15]
    for name in ("**Plateau**", "patience 10 (ReduceLROnPlateau)", "patience 5"):
        places = [RULES[name](run) for run in chosen]
        found = [(place, run) for place, run in zip(places, chosen) if place is not None]
        later = np.array([1 - run.validation.min() / run.validation[: place + 1].min() for place, run in found])
        left = np.median([1 - run.step[place] / run.step[-1] for place, run in found])
        spoken = [run for _, run in found]
        row(
            name, share([place is not None for place in places], chosen), f"{left:.2f}",
            share(later < 0.01, spoken), share(later < 0.05, spoken),
        )  # fmt: skip


def jumps(runs: Sequence[Run]) -> None:
    """Noise from the middle of good runs on, in shares of what they have gained."""
    steady = [run for run in ended(runs, "good") if not run.for_tuning and len(run.step) >= 20]
    table(
        f"Jumps from the middle of {len(steady)} good runs on (judged part), found within 10 evaluations, %",
        "deviation, % of the gain", "UnstableValidation",
    )  # fmt: skip
    for percent in (0, 5, 10, 20, 40):
        random = np.random.default_rng(0)
        hits = []
        for run in steady:
            onset, broken = len(run.step) // 2, run.validation.copy()
            broken[onset:] += (
                percent / 100 * (run.validation[0] - run.validation.min()) * random.normal(size=len(broken) - onset)
            )
            detector, found = UnstableValidation(), []
            for place in range(onset + 10):
                found.append(detector.update(int(run.step[place]), float(broken[place])) is not None)
            hits.append(any(found[onset:]))
        row(percent, share(hits, steady))
    without_first(steady, "**UnstableValidation**")


def without_first(runs: Sequence[Run], name: str) -> None:
    """Good runs without their first evaluations, as where the untrained network is not evaluated."""
    table(f"{name} on good runs without the first evaluations (judged part)", "left out", "spoken of, %")
    for count in (0, 1, 3):
        row(count, share([RULES[name](changed(run, run.validation, count)) is not None for run in runs], runs))


def slow(runs: Sequence[Run]) -> None:
    """Good runs, of which some begin slowly."""
    chosen = [run for run in runs if not run.for_tuning and len(run.step) >= 15]
    without_first(ended(chosen, "good"), "**SlowConvergence**")


def vaes(folder: Path) -> None:
    """The runs of a variational autoencoder whose rotation was never learned, 512 latent units."""
    table(
        "Four autoencoders: what is found, and at which epoch",
        "run",
        "epochs",
        "DeadTerm",
        "Collapse",
        "other findings",
    )
    for name, rows in autoencoders(folder).items():
        dead, collapse, others = (
            DeadTerm(),
            Collapse(),
            [Overfitting(), UnstableValidation(), Plateau(), SlowConvergence()],
        )
        found: dict[str, list[Finding]] = {"dead": [], "collapse": [], "other": []}
        for epoch in rows:
            at, total, train = int(epoch["epoch"]), epoch["validation/recon_loss"], epoch["train/recon_loss"]
            errors = {term: epoch[f"validation/loss_{term}"] for term in RECONSTRUCTED}
            found["dead"] += dead.update(at, errors, dict.fromkeys(RECONSTRUCTED, 1.0))
            found["collapse"] += collapse.update(at, {"kl_per_dim": epoch["validation/kl_loss"] / 512})
            said = [
                others[0].update(at, train, total),
                others[1].update(at, total),
                others[2].update(at, total),
                others[3].update(at, train),
            ]
            found["other"] += [finding for finding in said if finding]
        shown = [
            ", ".join(f"{f.subject if kind != 'other' else f.name} {f.last}" for f in findings) or "–"
            for kind, findings in found.items()
        ]
        row(name, len(rows), *shown)


def twins(seeds: int = 5) -> None:
    """Which detector speaks of which fault, and of their healthy twins."""
    import broken_twins as broken  # imports torch, which the other parts do without

    names = ["overfitting", "unstable_validation", "plateau", "slow_convergence", "dead_term", "collapse", "dead_units"]
    table("Own small trainings, broken on purpose: runs in which each is found", "fault", "runs", "not finite", *names)
    for title, fault in broken.FAULTS.items():
        found, lost, count = dict.fromkeys(names, 0), 0, 0
        for rows in broken.runs(fault, seeds):
            said = {finding.name for finding in findings_of(rows)}
            count, lost = count + 1, lost + (not rows[-1]["finite"])
            for name in said:
                found[name] += 1
        row(title, count, lost, *found.values())
    table(
        "Own small trainings with rates that are too low: SlowConvergence",
        "rate, of the usual one", "runs", "found", "at which evaluation of 40", "last loss, times that at the usual rate",
    )  # fmt: skip
    usual = np.median([rows[-1]["training"] for rows in broken.runs(broken.Fault(), 3)])
    for factor in (1 / 300, 1 / 100, 1 / 30, 1 / 10):
        tried = list(broken.runs(broken.Fault(rates=(factor,)), 3))
        places = [place for rows in tried if (place := creeps(rows)) is not None]
        times = np.median([rows[-1]["training"] for rows in tried]) / usual
        row(
            f"1/{1 / factor:.0f}",
            len(tried),
            len(places),
            f"{np.median(places):.0f}" if places else "–",
            f"{times:.1f}",
        )


def creeps(rows: Sequence[dict[str, Any]]) -> int | None:
    detector = SlowConvergence()
    return first(detector.update(values["iteration"], values["training"]) for values in rows)


def findings_of(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """What all detectors find in a run's evaluations."""
    overfitting, unstable, plateau, creeping = Overfitting(), UnstableValidation(), Plateau(), SlowConvergence()
    dead, collapse, units = DeadTerm(), Collapse(), DeadUnits()
    found: list[Finding | None] = []
    for values in rows:
        at, training, validation = values["iteration"], values["training"], values["validation"]
        found += [overfitting.update(at, training, validation), unstable.update(at, validation)]
        found += [plateau.update(at, validation), creeping.update(at, training), units.update(at, values["units"])]
        found += dead.update(at, values["errors"], values["trivial"]) + collapse.update(at, values["signals"])
    return [finding for finding in found if finding]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=CURVES)
    parts = ["runs", "noise", "plateau", "jumps", "slow", "autoencoders", "twins"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    began = time.perf_counter()
    runs = read(options.curves)
    for name, part in (("runs", whole_runs), ("noise", noise), ("plateau", plateaus), ("jumps", jumps), ("slow", slow)):
        if name in options.parts:
            part(runs)
    if "autoencoders" in options.parts:
        vaes(options.curves)
    if "twins" in options.parts:
        twins()
    print(f"\n{time.perf_counter() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
