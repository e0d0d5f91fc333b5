"""``python -m ignition.study``, from the command line to the page."""

import json
import re
from pathlib import Path

import pytest

from ignition.rundir import RunFolder
from ignition.study import main

STAND_IN = Path(__file__).with_name("stand_in.py")


@pytest.fixture
def study(place):
    """The study of two rates, run by the stand-in."""
    text = f"command: '{{python}} {STAND_IN} {{arguments}}'\n" + (place / "rates.yaml").read_text()
    (place / "rates.yaml").write_text(text.replace("[0, 1, 2]", "[0, 1]"))
    return "rates.yaml"


def test_a_study_is_run_compared_and_judged(study, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main([study, "--plan"]) == 0
    assert capsys.readouterr().out.count(": missing") == 4
    assert main([study]) == 0
    told = capsys.readouterr()
    assert "rates: high_rate-seed1 finished" in told.err
    assert "Does a higher rate learn the sum sooner?" in told.out
    assert "high_rate beside slow_rate: one thing changed: optimizer.lr" in told.out
    assert "held" in told.out and "failed" in told.out
    assert main([study, "--plan"]) == 0
    assert capsys.readouterr().out.count(": finished") == 4
    assert main([study, "--no-run", "--strict"]) == 1


def test_the_page_is_the_same_for_the_same_runs_and_says_what_failed(study, capsys):
    assert main([study, "--report", "docs/results.md"]) == 0
    page, picture = Path("docs/results.md").read_bytes(), Path("docs/pictures/results_rates.svg").read_bytes()
    assert main([study, "--no-run", "--report", "docs/results.md"]) == 0
    assert (page, picture) == (
        Path("docs/results.md").read_bytes(),
        Path("docs/pictures/results_rates.svg").read_bytes(),
    )
    text = page.decode()
    assert "| [rates](#rates) | 4 of 4 |" in text
    assert re.search(
        r"\n- rates, `high_rate` beside `slow_rate`: (nothing|.* by [\d.]+ sd \(p [\d.e-]+\), .* for .*)\.\n", text
    )
    assert "What did not hold:\n\n- gap above 100 (`high_rate`, gap): mean " in text
    assert "| Faster convergence | `high_rate`, val/mae: below half of slow_rate | " in text
    assert "pictures/results_rates.svg" in text
    assert picture.startswith(b"<svg")


def test_the_page_says_what_is_missing_and_what_a_variant_was_to_show(study):
    config = Path("tiny.yaml").read_text()
    Path("tiny.yaml").write_text("hypothesis: a rate is enough\n" + config)
    assert main([study, "--jobs", "9"]) == 0
    for path in Path("runs/studies/rates").glob("high_rate-seed?/config.yaml"):
        path.unlink()  # no run any more
    text = Path(study).read_text()
    Path("other.yaml").write_text(text)
    assert main([study, "other.yaml", "--no-run", "--report", "page.md"]) == 0
    page = Path("page.md").read_text()
    assert "| `slow_rate` | - | a rate is enough |" in page
    assert "**Not whole:** 2 runs are missing: high_rate-seed0, high_rate-seed1." in page
    assert "| [other](#other) | 0 of 4 | 0 | 0 | 3 |" in page
    assert "**Not whole:** 4 runs are missing: " in page


def test_one_json_object(study, capsys):
    assert main([study, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [verdict["verdict"] for verdict in found["verdicts"]][2] == "failed"
    assert found["missing"] == []
    assert [group["name"] for group in found["groups"]] == ["slow_rate", "high_rate"]


def test_studies_that_name_one_folder_share_the_runs_of_a_variant(study, capsys):
    text = Path(study).read_text()
    more = "  higher: {plus: high_rate, settings: {optimizer: {lr: 0.2}}}\nexpect:"
    Path("more.yaml").write_text("runs: rates\n" + text.replace("expect:", more))
    assert main([study]) == 0
    capsys.readouterr()
    assert main(["more.yaml", "--output", "runs/studies"]) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if "began" in line] == [
        "more: higher-seed0 began", "more: higher-seed1 began",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("5e-2", "0.001"), "variants 'slow_rate' and 'high_rate' are equal"),
        (("val/mae: below 0.9", "val/maee: below 0.9"), "no metric 'val/maee'. Did you mean 'val/mae'?"),
        (("recipe: tiny.py", "recipe: tinny.py"), "no such recipe: tinny.py"),
        (("{optimizer: {lr: 5e-2}}", "{recipe: {widht: 3}}"), "unknown key 'recipe.widht'. Did you mean 'width'?"),
        (("below half of", "beneath half of"), "begins with neither 'below' nor 'above'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_message(study, capsys, change, says):
    text = Path(study).read_text()
    assert change[0] in text
    Path(study).write_text(text.replace(*change))
    assert main([study]) == 2
    errors = capsys.readouterr().err
    assert says in errors
    assert "Traceback" not in errors


def test_nothing_run_yet_and_a_run_that_fails_are_told(study, capsys):
    assert main([study, "--no-run"]) == 2
    assert "none of the 4 runs of this study has ended yet" in capsys.readouterr().err
    text = Path(study).read_text().replace("command: '", "command: 'false ")
    Path(study).write_text(text)
    assert main([study]) == 2
    errors = capsys.readouterr().err
    assert (
        "high_rate-seed0 failed with exit code 1: nothing (all of it: runs/studies/rates/high_rate-seed0.log)" in errors
    )


def test_a_run_that_is_at_work_is_no_result_yet(study, capsys):
    assert main([study]) == 0
    run = RunFolder("runs/studies/rates/high_rate-seed0")
    capsys.readouterr()
    with run.lock():
        assert main([study, "--no-run"]) == 0
    assert "not whole, missing: high_rate-seed0" in capsys.readouterr().out
