import csv
import math
from pathlib import Path

import pytest

from ignition.stability.dead_term import DeadTerm

VAES = Path(__file__).resolve().parents[3] / "shared" / "data" / "curves" / "gaussvae"
UNIT = {"xy": 1.0, "rotation": 1.0}


def found(detector, rotation, xy=0.3, weights=None, first=0):
    """(evaluation, term) of each finding."""
    return [
        (i, finding.subject)
        for i, value in enumerate(rotation, first)
        for finding in detector.update(100 * i, {"xy": xy, "rotation": value}, UNIT, weights)
    ]


@pytest.mark.parametrize(
    ("rotation", "found_at"),
    [
        ([1.001, 1.0, 0.999, 1.002, 0.985], [(4, "rotation")]),
        ([1.001, 1.0, 0.97, 1.002, 0.99, 0.99, 0.99], []),  # R2 of 0.03 in between
        ([1.0, 1.0, math.nan, 1.0, math.inf, 1.0, 1.0], [(6, "rotation")]),  # what is not finite does not count
        ([1.0] * 4, []),
        ([0.9] * 9, []),
        # a U-Net's 1 - SSIM beside that of the mean image, scaled to 1: worse than the constant at first, and learned
        ([2.64, 1.99, 1.73, 1.33, 1.15, 0.99, 0.93, 0.86], []),
        ([2.6, 1.9, 1.8, 1.8, 1.85, 1.79], [(5, "rotation")]),  # far above it, and no longer falling
    ],
)
def test_five_in_a_row_no_better_than_a_constant(rotation, found_at):
    assert found(DeadTerm(), rotation) == found_at


def test_it_says_which_and_raises_its_weight():
    detector = DeadTerm()
    for i in range(5):
        findings = detector.update(
            100 * i, {"xy": 0.3, "rotation": 2.0}, {"xy": 1.0, "rotation": 2.0}, {"rotation": 0.5}
        )
    finding = findings[0]
    assert finding.message == "'rotation' is not learned: its error of 2 is that of a constant (R2 0, 5 evaluations)"
    assert (finding.name, finding.subject, finding.first, finding.last) == ("dead_term", "rotation", 0, 400)
    assert [advice.override for advice in finding.advice] == ["loss.rotation=1.5", ""]
    assert detector.dead == ("rotation",)


def test_a_run_that_learns_nothing_yet_has_no_dead_term():
    detector = DeadTerm()
    assert found(detector, [1.0] * 9, xy=0.99) == []
    # once the other is learned, it is told at once
    assert found(detector, [1.0], xy=0.9, first=20) == [(20, "rotation")]


def test_a_single_term_is_judged_by_itself():
    detector = DeadTerm()
    findings = [detector.update(i, {"mse": 4.0}, {"mse": 4.0}) for i in range(5)]
    assert [len(found) for found in findings] == [0, 0, 0, 0, 1]


def test_what_has_no_weight_or_no_trivial_error_is_not_judged():
    assert found(DeadTerm(), [1.0] * 9, weights={"rotation": 0.0}) == []
    detector = DeadTerm()
    errors = {"xy": 0.3, "smooth": 5.0, "mask": 1.0}
    assert not any(detector.update(i, errors, {"xy": 1.0, "mask": 0.0}) for i in range(9))


def test_told_once_until_it_is_learned():
    detector = DeadTerm()
    assert found(detector, [1.0] * 9) == [(4, "rotation")]
    assert found(detector, [0.97] * 3, first=20) == []  # learned a little
    assert detector.active
    assert found(detector, [0.95], first=30) == []
    assert not detector.active
    assert found(detector, [1.0] * 9, first=40) == [(44, "rotation")]


@pytest.mark.skipif(not VAES.is_dir(), reason=f"no {VAES}")
def test_it_names_the_rotation_at_epoch_4_in_four_real_runs_and_nothing_else():
    files = sorted(VAES.glob("*.csv"))
    assert len(files) == 4
    for file in files:
        detector, terms = DeadTerm(), ("xy", "scale", "rot", "feat")
        named = []
        for row in csv.DictReader(file.open()):
            errors = {term: float(row[f"validation/loss_{term}"]) for term in terms}
            named += [
                (f.last, f.subject) for f in detector.update(int(row["epoch"]), errors, dict.fromkeys(terms, 1.0))
            ]
        assert named == [(4, "rot")], file.stem


@pytest.mark.parametrize(
    ("settings", "message"), [({"least": 1.0}, "least is 1.0"), ({"evaluations": 0}, "evaluations is 0")]
)
def test_says_what_it_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        DeadTerm(**settings)
