"""The figures that the benchmark of the evaluations' detectors has to meet, on the real runs."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CURVES = Path(__file__).resolve().parents[3] / "shared" / "data" / "curves" / "algoperf" / "evals.jsonl.gz"
pytestmark = pytest.mark.skipif(not CURVES.is_file(), reason=f"no {CURVES}")


@pytest.fixture(scope="module")
def benchmark():
    """Rules by name, and the runs by how they ended."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import evaluation_curves
        import evaluation_rules
    finally:
        sys.path.remove(str(BENCHMARKS))
    runs = evaluation_curves.read()
    assert len(runs) == 1407
    ended = {how: [run for run in runs if run.end == how] for how in ("good", "overfit")}
    assert (len(ended["good"]), len(ended["overfit"])) == (1260, 66)
    return evaluation_rules.RULES, ended


def share(rule, runs):
    return sum(rule(run) is not None for run in runs) / len(runs)


def test_overfit_runs_are_found_and_good_ones_left_alone(benchmark):
    rules, ended = benchmark
    judged = {how: [run for run in runs if not run.for_tuning] for how, runs in ended.items()}
    for part in (ended, judged):
        assert share(rules["**Overfitting**"], part["overfit"]) >= 0.95
        assert share(rules["**Overfitting**"], part["good"]) <= 0.01  # asked for: 0.08


def test_good_runs_are_seldom_called_unstable_or_slow(benchmark):
    rules, ended = benchmark
    assert share(rules["**UnstableValidation**"], ended["good"]) <= 0.03
    assert share(rules["**SlowConvergence**"], ended["good"]) <= 0.02


def test_absolute_limits_speak_of_nearly_all_good_runs(benchmark):
    rules, ended = benchmark
    assert share(rules["absolute: any of them"], ended["good"]) >= 0.99
    assert share(rules["absolute: gap above 0.10"], ended["overfit"]) <= 0.2
