"""The table of results."""

import math

from ignition.summary import Summary

NAN = float("nan")


def rows(*losses):
    yield {"iteration": 0, "epoch": 0, "baseline/epe": 9.0}
    yield {"iteration": 0, "epoch": 0, "val/loss": 5.0, "val/epe": 8.0}
    for epoch, loss in enumerate(losses, start=1):
        yield {"iteration": epoch * 10, "epoch": epoch, "train/epoch_avg_loss": 1.0}
        yield {"iteration": epoch * 10, "epoch": epoch, "val/loss": loss, "val/epe": 2 * loss}


def test_best_is_by_the_metric_and_never_not_finite():
    summary = Summary(rows(3.0, NAN, 2.0, 2.5), metric="val/loss", mode="min")
    assert (summary.best_epoch, summary.last_epoch) == (3, 4)
    assert summary.best["val/epe"] == 4.0
    assert summary.before["val/epe"] == 8.0
    assert summary.gap == 1.0


def test_maximum_is_best_where_it_is_asked_for():
    assert Summary(rows(3.0, 4.0, 2.0), metric="val/loss", mode="max").best_epoch == 2


def test_a_run_without_an_evaluation_has_an_empty_table():
    summary = Summary([], metric="val/loss", mode="min")
    assert summary.last == {}
    assert math.isnan(summary.gap)
    assert summary.table().row_count == 0


def test_further_data_is_shown_before_and_after():
    data = [*rows(3.0), {"iteration": 0, "epoch": 0, "source/before/epe": 1.0},
            {"iteration": 10, "epoch": 1, "source/after/epe": 1.5}]  # fmt: skip
    table = Summary(data, metric="val/loss", mode="min").others_table()
    assert [list(column.cells) for column in table.columns] == [["source epe"], ["1"], ["1.5"], ["+0.500"]]


def test_samples_that_could_not_be_read_are_counted_as_the_last_epoch_knew_them():
    skipped = [{"iteration": 10 * epoch, "epoch": epoch, "data/skipped": count} for epoch, count in ((1, 2), (2, 3))]
    assert Summary([*rows(3.0, 2.0), *skipped], metric="val/loss", mode="min").skipped == 3
    assert Summary(rows(3.0), metric="val/loss", mode="min").skipped == 0
