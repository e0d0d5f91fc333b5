"""Runs beside each other."""

import json
from pathlib import Path

import pytest

from ignition.compare import main
from ignition.comparison import Comparison, ComparisonError, RunSummary
from tests.comparison.run_folders import make_run, noisy

BEFORE, AFTER = ["optimizer.lr=0.5"], ["optimizer.lr=0.1"]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three seeds from before, three from after, whose losses end at half."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        make_run(f"before-{seed + 1:03d}", noisy(2.0, seed), settings=BEFORE, seed=seed)
        make_run(f"after-{seed + 1:03d}", noisy(1.0, 10 + seed), settings=AFTER, seed=seed)
    return sorted(Path().glob("before-*")) + sorted(Path().glob("after-*"))


def read(paths):
    return [RunSummary.read(path) for path in paths]


def test_seeds_of_one_config_are_one_group_and_the_right_one_is_better(runs):
    comparison = Comparison.of(read(runs))
    before, after = comparison.groups
    assert [(group.name, [run.seed for run in group.runs]) for group in (before, after)] == [
        ("before", [0, 1, 2]),
        ("after", [0, 1, 2]),
    ]
    tests = {test.figure: test for test in comparison.tests(after)}
    assert tests["final val/loss"].significant
    assert tests["final val/loss"].word("low").startswith("better by ")
    assert tests["final val/loss"].found.effect.high < -3
    assert comparison.word(after) == "one thing changed: optimizer.lr"
    reverse = Comparison.of(read(reversed(runs)))
    assert {test.figure: test for test in reverse.tests(reverse.groups[1])}["final val/loss"].word("low")[:5] == "worse"


def test_what_is_chance_is_not_called_and_says_how_many_seeds_it_would_take(tmp_path):
    called = 0
    for draw in range(20):
        groups = []
        for name, settings in (("a", BEFORE), ("b", AFTER)):  # two settings that do nothing
            for seed in range(3):
                path = tmp_path / f"{draw}-{name}-{seed}"
                make_run(path, noisy(1.0, 100 * draw + 10 * (name == "b") + seed), settings=settings, seed=seed)
                groups.append(RunSummary.read(path))
        comparison = Comparison.of(groups)
        tests = comparison.tests(comparison.groups[1])
        called += any(test.significant for test in tests)
        undecided = [test for test in tests if test.found and not test.significant]
        assert all(test.word("low").startswith("cannot be told apart") for test in undecided)
        assert any("seeds each would tell" in test.word("low") for test in undecided)
    assert called <= 1


def test_two_runs_of_one_config_under_one_seed_do_not_differ(tmp_path):
    for name in ("one", "two"):
        make_run(tmp_path / name, [2.0, 1.0])
    comparison = Comparison.of(read([tmp_path / "one", tmp_path / "two"]))
    (group,) = comparison.groups
    assert len(group.runs) == 1
    assert group.notes == (
        "one and two are one config under one seed, no difference: the same bit for bit; counted once",
    )


def test_of_two_seeds_of_one_config_nothing_is_called(tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path / f"run-{seed}", noisy(1.0, seed, noise=0.5), seed=seed)
    assert main([str(tmp_path / "run-0"), str(tmp_path / "run-1")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "one config under 2 seeds: what differs is chance" in out
    assert "better" not in out and "worse" not in out


def test_a_loss_of_other_weights_is_not_held_against(tmp_path):
    for name, settings in (("a", ["loss.square=1.0"]), ("b", ["loss.square=0.5"])):
        for seed in range(3):
            make_run(tmp_path / f"{name}-{seed}", noisy(1.0, seed), settings=settings, seed=seed)
    comparison = Comparison.of(read(sorted(tmp_path.glob("?-?"))), ["val/mae"])
    said = {test.figure: test.word("low") for test in comparison.tests(comparison.groups[1])}
    assert said["val_loss_std"] == said["final val/loss"] == said["gap"] == "another loss, another scale"
    assert said["final val/mae"] == "no difference"


def test_the_command_shows_hypotheses_settings_and_curves(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    make_run("why-001", noisy(1.0, 7), settings=[*BEFORE, "clip.kind=norm", "hypothesis=clipping does it"])
    assert main([*map(str, runs), "why-001"]) == 0
    out = capsys.readouterr().out
    assert "clipping does it" in out
    assert "after beside before: one thing changed: optimizer.lr" in out
    assert "one seed: tells nothing about chance" in out
    assert "val/loss, before" in out
    assert "baseline" not in out.split("setting")[0].split("trivial")[0]


def test_json_is_one_object_and_the_page_needs_nothing_else(runs, capsys):
    assert main([*map(str, runs), "--json", "--metric", "spread val/mae"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reference"] == "before"
    assert found["groups"][1]["changed"] == ["optimizer.lr"]
    tested = {test["figure"]: test for test in found["groups"][1]["tests"]}
    assert tested["best val/loss"]["significant"] is True
    assert tested["best val/loss"]["p_permutation"] == pytest.approx(0.1)
    assert "factor" in tested["spread val/mae"]
    assert main([*map(str, runs), "--html", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert page.count("<svg") == 2  # val/loss and the training loss
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["before-001", "nowhere", "neither"], ["nowhere: No such file", "neither: No such file"]),
        (["before-001"], ["one run alone is compared with nothing"]),
        (["before-001", "after-001", "--metric", "val/mea"], ["no metric 'val/mea'. Did you mean 'val/mae'? Known: "]),
        (["before-001", "other"], ["runs of different recipes cannot be compared (before-001: tiny, other: depth)"]),
        (["before-001", "going"], ["going is still going on (process "]),
    ],
)
def test_what_is_wrong_is_told_in_one_message(runs, capsys, words, says):
    from ignition.rundir import RunFolder

    make_run("other", [1.0], settings=["task=depth"])
    going = make_run("going", [1.0], status="running")
    with RunFolder.open(going.path).lock():
        assert main(words) == 2
    errors = capsys.readouterr().err
    assert all(text in errors for text in says)
    assert "Traceback" not in errors


def test_nothing_to_compare_is_an_error_of_its_own():
    with pytest.raises(ComparisonError, match="give two or more"):
        Comparison.of([])
