"""Whether what was expected held."""

import pytest

from ignition.comparison import Group, RunSummary
from ignition.studies.expectation import parse
from ignition.studies.study import Expectation
from ignition.studies.verdict import FAILED, HELD, OPEN, judge
from tests.comparison.run_folders import make_run


@pytest.fixture
def groups(tmp_path):
    """Two variants of three seeds whose val/mae end at about 4 and 2, of which the trivial predictor has 2."""
    found = {}
    for name, ends in (("before", (4.0, 4.2, 3.8)), ("after", (2.0, 2.1, 1.9))):
        runs = []
        for seed, end in enumerate(ends):
            settings = [f"optimizer.lr={end}", "loss.square=1"] if name == "other" else [f"loss.square={ends[0]}"]
            make_run(tmp_path / f"{name}-{seed}", [8.0, end / 2], settings=settings, seed=seed)
            runs.append(RunSummary.read(tmp_path / f"{name}-{seed}"))
        found[name] = Group.of(name, runs)
    return found


def verdict(groups, figure, text, of="after"):
    return judge(Expectation(figure, text, tuple(parse(text, list(groups))), of), groups)


@pytest.mark.parametrize(
    ("figure", "text", "word"),
    [
        ("val/mae", "below 2.5", HELD),
        ("val/mae", "below 1.5", FAILED),
        ("val/mae", "below 2.05", OPEN),  # 2.0 with an interval of 0.25 to each side
        ("val/mae", "above 1.5", HELD),
        ("val/mae", "below before", HELD),
        ("val/mae", "below 0.6 of before", HELD),
        ("val/mae", "below half of before", OPEN),
        ("val/mae", "below 0.4 of before", FAILED),
        ("val/mae", "below 2.5 and below 0.4 of before", FAILED),
        ("val/mae", "below 2.5 and below half of before", OPEN),
        ("val/mae", "below twice trivial", HELD),
        ("epochs", "below 3", HELD),  # no spread at all: the number itself
        ("epochs", "below 2", FAILED),
        ("val/psnr", "above 3", OPEN),
        ("val/loss", "below before", OPEN),  # with another loss it is on another scale
    ],
)
def test_a_limit_is_kept_missed_or_within_the_spread_of_the_seeds(groups, figure, text, word):
    assert verdict(groups, figure, text).word == word


def test_why_it_cannot_be_decided_is_said(groups):
    assert verdict(groups, "val/loss", "below before").why == "before has another loss, so its scale is another"
    assert verdict(groups, "val/psnr", "above 3").why == "val/psnr of after is there in 0 of 3 runs"
    alone = {"after": Group.of("after", list(groups["after"].runs[:1])), "before": groups["before"]}
    assert verdict(alone, "val/mae", "below 5").why.endswith("one seed")
    assert verdict({"before": groups["before"]}, "val/mae", "below 5").why == "there are no runs of after"


def test_ratios_are_judged_by_factors(groups):
    found = verdict(groups, "spread val/mae", "below 0.5 of before")
    assert found.word == FAILED
    assert "a factor of" in found.why
