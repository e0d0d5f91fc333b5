import logging

import pytest

from ignition.rundir import Bundle, RunFolder
from ignition.rundir.bundles import Bundles


def write(bundles, first, name="non_finite", iteration=None, subject=""):
    with bundles.writing(first, name) as bundle:
        row = {"iteration": iteration or first, "name": name, "first": first, "subject": subject}
        bundle.write_incident(row)
    return row


def test_a_bundle_has_its_name_when_it_is_whole(tmp_path):
    bundles = Bundles(tmp_path / "incidents")
    with bundles.writing(37, "loss_spike") as bundle:
        bundle.write_incident({"iteration": 40})
        bundle.write_rows([{"iteration": 36, "train/batch_loss": float("nan")}])
        assert list(bundles) == []
    (found,) = bundles
    assert (found.name, found.first, len(bundles)) == ("00000037-loss_spike", 37, 1)
    assert found.read_incident() == {"iteration": 40}
    assert found.read_rows()[0]["iteration"] == 36


def test_one_that_fails_half_way_leaves_nothing(tmp_path):
    bundles = Bundles(tmp_path / "incidents")
    with pytest.raises(OSError, match="full"), bundles.writing(37, "loss_spike") as bundle:
        bundle.write_incident({"iteration": 40})
        raise OSError("full")
    assert list((tmp_path / "incidents").iterdir()) == []


def test_what_a_killed_run_left_is_taken_away_by_the_next(tmp_path):
    run = RunFolder.create_at(tmp_path / "run")
    (run.bundles.path / ".tmp-123-00000037-loss_spike").mkdir(parents=True)
    with run.lock():
        assert list(run.bundles.path.iterdir()) == []


def test_two_of_one_name_and_iteration_have_a_folder_each_and_are_told_apart(tmp_path):
    bundles = Bundles(tmp_path / "incidents")
    rows = [write(bundles, 37, "exploding_term", subject=term) for term in ("xy", "kl")]
    assert [bundle.name for bundle in bundles] == ["00000037-exploding_term", "00000037-exploding_term-2"]
    assert [bundles.of(row).name for row in rows] == ["00000037-exploding_term", "00000037-exploding_term-2"]
    assert bundles.of({**rows[0], "iteration": 99}) is None


def test_a_rewind_takes_away_what_later_iterations_told(tmp_path):
    run = RunFolder.create_at(tmp_path / "run")
    for first, told in ((10, 12), (14, 20), (15, 15)):
        run.write_incident(write(run.bundles, first, iteration=told))
    (run.bundles.path / "00000003-loss_spike").mkdir()  # what cannot be read goes as well
    run.rewind_metrics(15)
    assert [bundle.name for bundle in run.bundles] == ["00000010-non_finite", "00000015-non_finite"]
    assert [row["iteration"] for row in run.incidents.read()] == [12, 15]


def test_an_incident_that_cannot_be_read_is_empty(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert Bundle(tmp_path / "00000037-loss_spike").read_incident() == {}
