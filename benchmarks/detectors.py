"""How good the doctor's detectors are: faults put into real healthy curves, beside the rules that people use.

The very classes run, value by value; what a fault meets is the state that the healthy values before it have left.
Intervals are 95 % of bootstraps over runs (the rule of three for 0 and 100 %). Settings were chosen on the curves of
some optimizers and are judged on those of others (`curves.Segment.for_tuning`); how healthy is decided stands in
`curves`, and what the faults are in `fault_injection`. It takes three to four minutes on one core.

    python benchmarks/detectors.py [--curves FOLDER] [--parts losses gradients beginnings rates] [--places 2]

Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curves import CURVES, Segment, calm, read
from fault_injection import AFTER, FAULTS, LATER, places
from scoring import SLOW, SPIKE, Answers, Part, header, told
from usual_rules import ExponentialZ, MadScore, Patience, RollingZ

from ignition.stability import (
    Divergence,
    Finding,
    GradientExplosion,
    GradientVanishing,
    LearningRateTooHigh,
    LossSpike,
    SlowDivergence,
)

BOTH = "**both together**"


class PlainSpike(LossSpike):
    """Without the memory of usual outliers, and with spikes that enter the window as they are."""

    MOST = 0.0
    CAP = math.inf


class PlainCusum(SlowDivergence):
    """Without the gap between the values judged by and the value judged."""

    GAP = 0
    CAP = 4.0


class Confirmed:
    """A divergence, with the rise that it confirms."""

    def __init__(self) -> None:
        self.rise, self.divergence = SlowDivergence(), Divergence()

    def update(self, iteration: int, loss: float) -> Finding | None:
        self.rise.update(iteration, loss)
        return self.divergence.update(iteration, loss, self.rise)


OURS: dict[str, Callable[[], Any]] = {
    "LossSpike": LossSpike,
    "SlowDivergence": SlowDivergence,
    "Divergence, which confirms it": Confirmed,
}
OTHERS: dict[str, Callable[[], Any]] = {
    "quantile scale, k 8": lambda: PlainSpike(8.0),
    "CUSUM on it, k 1, h 12": lambda: PlainCusum(1.0, 12.0, window=64),
    "MAD, k 8, 64 values": MadScore,
    "rolling z 6, 128 values (OLMo-core)": RollingZ,
    "exponential z 2.5 (ZClip)": ExponentialZ,
    "exponential z 6": lambda: ExponentialZ(6.0),
    "patience of 10 means of 10 (plateau rule)": Patience,
}


def ask(make: Callable[[], Any], segments: Sequence[Segment], count: int) -> Answers:
    """Run a detector over all segments, and over each fault at ``count`` places of each."""
    alarms = np.zeros(len(segments))
    delays: dict[str, list[np.ndarray]] = {name: [] for name in FAULTS}
    for number, segment in enumerate(segments):
        detector, begins = make(), 0
        step, loss = segment.step.tolist(), segment.loss.tolist()
        found: dict[str, list[float]] = {name: [] for name in FAULTS}
        for place in places(segment.loss, segment.run, count):
            begins = _healthy(detector, step, loss, begins, place.onset, alarms, number)
            kept = pickle.dumps(detector)
            end = place.onset + AFTER
            for name, change in FAULTS.items():
                broken = change(segment.loss[place.onset : end], place).tolist()
                found[name].append(_delay(pickle.loads(kept), step[place.onset : end], broken, LATER.get(name, 0)))
        _healthy(detector, step, loss, begins, len(loss), alarms, number)
        for name in FAULTS:
            delays[name].append(np.array(found[name]))
    return Answers(alarms, delays)


def _healthy(detector: Any, step: list, loss: list, begin: int, end: int, alarms: np.ndarray, number: int) -> int:
    for iteration, value in zip(step[begin:end], loss[begin:end]):
        if detector.update(iteration, value):
            alarms[number] += 1
    return end


def _delay(detector: Any, step: list, values: list, later: int) -> float:
    """Values from where the fault is to be found up to the finding; infinite if there is none."""
    for time_after, (iteration, value) in enumerate(zip(step, values)):
        if detector.update(iteration, value) and time_after >= later:
            return time_after - later
    return math.inf


def losses(segments: Sequence[Segment], count: int) -> None:
    """Spikes, divergences and the rest, in losses."""
    well = [s for s in segments if s.ended_low and s.whole]
    healthy, tuned = np.array([s.healthy for s in well]), np.array([s.for_tuning for s in well])
    gpt = np.array([s.workload == "nanogpt" for s in well])
    answers = {name: ask(make, well, count) for name, make in (OURS | OTHERS).items()}
    answers = {BOTH: answers["LossSpike"] | answers["SlowDivergence"]} | answers
    parts = {
        "judged: other optimizers than tuned on": Part(well, healthy & ~tuned),
        "tuned on": Part(well, healthy & tuned),
        "all": Part(well, healthy),
        "GPT-2 (modded-nanogpt) alone": Part(well, healthy & gpt),
        "all without GPT-2": Part(well, healthy & ~gpt),
        "calm, however poor": Part(well, np.array([calm(s.loss) for s in well])),
        "ended within 5 % of their lowest, calm or not, however poor": Part(well, healthy | True),
    }
    judged, *_ = parts.values()
    detector_table("Judged on curves that nothing was tuned on", judged, answers)
    detector_table("All healthy segments", parts["all"], answers)
    print("\n### Both together, by part\n")
    header("part | segments | values | false alarms per 1000 | flagged, % | spikes of 20 σ, % | slow divergence, %")
    for name, part in parts.items():
        print(f"| {name} | {len(part.chosen)} | {part.points.sum()} | {' | '.join(part.figures(answers[BOTH]))} |")
    fault_table(judged, answers)
    precision(judged, answers)


def detector_table(title: str, part: Part, answers: dict[str, Answers]) -> None:
    print(f"\n### {title}: {len(part.chosen)} segments of {part.runs} runs, {part.points.sum()} values\n")
    header(
        "detector | false alarms per 1000 values | healthy segments flagged, % | spikes of 20 σ found within 25, %"
        " | slow divergence found within 60, % | its median delay"
    )
    for name, answer in answers.items():
        print(f"| {name} | {' | '.join(part.figures(answer))} | {part.delay(answer, SLOW)} |")


def fault_table(part: Part, answers: dict[str, Answers]) -> None:
    """All faults, by those detectors that are worth it."""
    print("\n### Faults found within 25 / 60 / 150 values of their onset, %, and median delay (judged part)\n")
    shown = [
        "LossSpike",
        "SlowDivergence",
        "Divergence, which confirms it",
        BOTH,
        "rolling z 6, 128 values (OLMo-core)",
    ]
    header(f"fault | {' | '.join(shown)}")
    for fault in FAULTS:
        cells = []
        for name in shown:
            shares = " / ".join(f"{part.recall(answers[name], fault, within)[0]:.0f}" for within in (25, 60, 150))
            cells.append(f"{shares}, {part.delay(answers[name], fault)}")
        print(f"| {fault} | {' | '.join(cells)} |")


def precision(part: Part, answers: dict[str, Answers]) -> None:
    """What the confidence of a finding is: how often it is right where there is one fault in 1000 values."""
    print("\n### Right findings among all, at one such fault in 1000 values, % (judged part)\n")
    header("detector | fault | share")
    for name, fault, within in (("LossSpike", SPIKE, 25), ("SlowDivergence", SLOW, AFTER)):
        found, false = part.recall(answers[name], fault, within)[0] / 100, part.false_alarms(answers[name])[0]
        print(f"| {name} | {fault} | {100 * found / (found + false):.0f} |")


def gradients(segments: Sequence[Segment], count: int) -> None:
    """Norms made larger once, and norms that fade away."""
    normed = [s for s in segments if s.healthy and s.gradient_norm is not None and np.isfinite(s.gradient_norm).all()]
    whole = Part(normed, [True] * len(normed))
    print(f"\n### Gradient norms: {len(normed)} healthy segments, {whole.points.sum()} values\n")
    header("detector | fault | found, % | false alarms per 1000 values | healthy segments flagged, %")
    found: dict[str, list[np.ndarray]] = {}
    alarms = {"GradientExplosion": np.zeros(len(normed)), "GradientVanishing": np.zeros(len(normed))}
    faults = {f"{times} times as large, once": times for times in (10, 20, 30, 100)}
    fading = np.maximum(np.exp(-np.arange(AFTER) / 10), 1e-5)
    for number, segment in enumerate(normed):
        explosion, vanishing, begin = GradientExplosion(), GradientVanishing(), 0
        hits: dict[str, list[bool]] = {name: [] for name in (*faults, "fades to a hundred-thousandth")}
        step, norm = segment.step.tolist(), segment.gradient_norm.tolist()
        onsets = [place.onset for place in places(segment.loss, segment.run, count)]
        for end in (*onsets, len(norm)):
            for i in range(begin, end):
                alarms["GradientExplosion"][number] += explosion.update(step[i], norm[i]) is not None
                alarms["GradientVanishing"][number] += vanishing.update(step[i], norm[i], segment.loss[i]) is not None
            begin = end
            if end == len(norm):
                break
            for name, times in faults.items():
                twin = pickle.loads(pickle.dumps(explosion))
                hits[name].append(twin.update(step[end], times * norm[end]) is not None)
            twin = pickle.loads(pickle.dumps(vanishing))
            faded = (segment.gradient_norm[end : end + AFTER] * fading).tolist()
            told_of = [twin.update(*values) for values in zip(step[end:], faded, segment.loss[end:].tolist())]
            hits["fades to a hundred-thousandth"].append(any(finding is not None for finding in told_of))
        for name, hit in hits.items():
            found.setdefault(name, []).append(np.array(hit))
    for name, hits_of in found.items():
        detector = "GradientVanishing" if "fades" in name else "GradientExplosion"
        healthy = Answers(alarms[detector], {name: [np.where(hit, 0.0, math.inf) for hit in hits_of]})
        found_share = told(whole.recall(healthy, name, 1), 1)
        cells = (detector, name, found_share, told(whole.false_alarms(healthy), 2), told(whole.flagged(healthy), 1))
        print(f"| {' | '.join(cells)} |")


def beginnings(segments: Sequence[Segment]) -> None:
    """The first 100 steps of runs that logged each of them."""
    first = [s for s in segments if s.step[0] <= 1 and len(s.step) >= 90 and s.step[1] - s.step[0] == 1]
    flagged = []
    for segment in first:
        detector = LearningRateTooHigh()
        pairs = zip(segment.step[:100].tolist(), segment.loss[:100].tolist())
        flagged.append(any([detector.update(*pair) is not None for pair in pairs]))
    ended = [segment.ended_well for segment in first]
    print(f"\n### The first 100 steps of {len(first)} real runs\n")
    header("runs | flagged by LearningRateTooHigh")
    print(f"| {sum(ended)} that ended well | {sum(f for f, e in zip(flagged, ended) if e)} |")
    print(f"| {len(first) - sum(ended)} others | {sum(f for f, e in zip(flagged, ended) if not e)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--places", type=int, default=2, help="places in each segment at which each fault is put")
    parts = ["losses", "gradients", "beginnings", "rates"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    began = time.perf_counter()
    segments = read(options.curves)
    if "losses" in options.parts:
        losses(segments, options.places)
    if "gradients" in options.parts:
        gradients(segments, options.places)
    if "beginnings" in options.parts:
        beginnings(segments)
    if "rates" in options.parts:
        from learning_rates import rates  # imports torch, which the other parts do without

        rates()
    print(f"\n{time.perf_counter() - began:.0f} s in all.")


if __name__ == "__main__":
    main()
