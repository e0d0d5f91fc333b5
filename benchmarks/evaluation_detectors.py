"""How good the detectors are that look at evaluations: on real runs, beside the rules that people use.

The very classes run, evaluation by evaluation. Settings were chosen on the runs of one optimizer and are judged on
those of the others (`evaluation_curves.Run.for_tuning`); how a run ended is decided there. Intervals are 95 % of
bootstraps over configurations: five runs of one configuration that differ in their seed are not five independent ones.

    python benchmarks/evaluation_detectors.py [--curves FOLDER] [--parts runs noise plateau jumps slow vaes twins]

Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evaluation_curves import CURVES, RECONSTRUCTED, Run, autoencoders, read, usual_targets
from evaluation_rules import RULES, Rule, creeps, findings_of, on_both

from ignition.stability.collapse import Collapse
from ignition.stability.dead_term import DeadTerm
from ignition.stability.finding import Finding
from ignition.stability.overfitting import Overfitting
from ignition.stability.plateau import Plateau
from ignition.stability.slow_convergence import SlowConvergence
from ignition.stability.unstable_validation import UnstableValidation

RESAMPLES = 2000


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
        "decided by", "runs (configurations, workloads)", "found, %", "of the run still to come",
        "above the best then, %", "at the end, %",
    )  # fmt: skip
    by_loss = {id(run) for run in ended(runs, "overfit")}
    by_target = {id(run) for run in runs if run.end_by_target(usual[run.workload]) == "overfit"}
    for label, members in (("the last validation loss", by_loss), ("the last target alone", by_target)):
        for part, wanted in (("judged", (False,)), ("all", (True, False))):
            labelled = [run for run in runs if id(run) in members and run.for_tuning in wanted]
            places = [on_both(Overfitting)(run) for run in labelled]
            found = [(place, run) for place, run in zip(places, labelled) if place is not None]
            left = np.median([1 - run.step[place] / run.step[-1] for place, run in found])
            then = np.median([excess(run, place) for place, run in found])
            last = np.median([excess(run, len(run.step) - 1) for _, run in found])
            hits = [place is not None for place in places]
            kinds = len({run.configuration for run in labelled}), len({run.workload for run in labelled})
            size = f"{len(labelled)} ({kinds[0]}, {kinds[1]})"
            row(f"{label}, {part}", size, share(hits, labelled), f"{left:.2f}", f"{then:.1f}", f"{last:.1f}")
    endings = ("overfit", "between", "diverging", "good")
    table("How the runs ended of which Overfitting speaks", "runs", *endings, "a better value came later")
    for part, chosen in (("judged", [run for run in runs if not run.for_tuning]), ("all", runs)):
        found = [(place, run) for run in chosen if (place := on_both(Overfitting)(run)) is not None]
        ends = [sum(run.end == how for _, run in found) for how in endings]
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
    parts = {"step": run.step[begin:], "training": run.training[begin:], "validation": validation[begin:]}
    return replace(run, **parts, target=None, target_mode=None)


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
            gain = run.validation[0] - run.validation.min()
            broken[onset:] += percent / 100 * gain * random.normal(size=len(broken) - onset)
            detector = UnstableValidation()
            found = [detector.update(int(i), float(v)) for i, v in zip(run.step[: onset + 10], broken)]
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
    table("Four autoencoders: what is found, and at which epoch", "run", "epochs", "DeadTerm", "Collapse", "others")
    for name, rows in autoencoders(folder).items():
        dead, collapse, overfitting, unstable = DeadTerm(), Collapse(), Overfitting(), UnstableValidation()
        plateau, slow_convergence = Plateau(), SlowConvergence()
        found: list[list[Finding]] = [[], [], []]
        for epoch in rows:
            at, total, train = int(epoch["epoch"]), epoch["validation/recon_loss"], epoch["train/recon_loss"]
            errors = {term: epoch[f"validation/loss_{term}"] for term in RECONSTRUCTED}
            found[0] += dead.update(at, errors, dict.fromkeys(RECONSTRUCTED, 1.0))
            found[1] += collapse.update(at, {"kl_per_dim": epoch["validation/kl_loss"] / 512})
            said = [overfitting.update(at, train, total), unstable.update(at, total), plateau.update(at, total)]
            found[2] += [finding for finding in (*said, slow_convergence.update(at, train)) if finding]
        named = [[f"{f.subject} {f.last}" for f in findings] for findings in found[:2]]
        named.append([f"{f.name} {f.last}" for f in found[2]])
        row(name, len(rows), *(", ".join(names) or "–" for names in named))


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
        "rate, of the usual one", "runs", "found", "at which evaluation of 40", "last loss, times the usual one",
    )  # fmt: skip
    usual = np.median([rows[-1]["training"] for rows in broken.runs(broken.Fault(), 3)])
    for factor in (1 / 300, 1 / 100, 1 / 30, 1 / 10):
        tried = list(broken.runs(broken.Fault(rates=(factor,)), 3))
        places = [place for rows in tried if (place := creeps(rows)) is not None]
        times = np.median([rows[-1]["training"] for rows in tried]) / usual
        place = f"{np.median(places):.0f}" if places else "–"
        row(f"1/{1 / factor:.0f}", len(tried), len(places), place, f"{times:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=CURVES)
    parts = ["runs", "noise", "plateau", "jumps", "slow", "vaes", "twins"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    began = time.perf_counter()
    runs = read(options.curves)
    for name, part in (("runs", whole_runs), ("noise", noise), ("plateau", plateaus), ("jumps", jumps), ("slow", slow)):
        if name in options.parts:
            part(runs)
    if "vaes" in options.parts:
        vaes(options.curves)
    if "twins" in options.parts:
        twins()
    print(f"\n{time.perf_counter() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
