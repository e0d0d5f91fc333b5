"""Figures of a run by name."""

import math

import pytest

from ignition.comparison import RunSummary, UnknownFigure, figure
from ignition.comparison.figures import check_figure, is_ratio, of_loss
from tests.comparison.run_folders import make_run


@pytest.fixture
def run(tmp_path):
    losses = [{"iteration": i, "epoch": 1 + i // 100, "train/batch_loss": 2.0 + 0.1 * (i % 7), "train/clipped": i % 2}
              for i in range(100)] + [{"iteration": 100, "epoch": 2, "train/batch_loss": 20.0}]  # fmt: skip
    make_run(
        tmp_path / "a",
        [4.0, 1.0, 2.0],
        rows=losses,
        incidents=[{"name": "loss_spike"}, {"name": "plateau"}, {"name": "collapse", "subject": "zero_flow"}],
    )
    return RunSummary.read(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("val/mae", 4.0),
        ("final val/mae", 4.0),
        ("first val/mae", 8.0),
        ("best val/mae", 2.0),  # at the epoch with the lowest val/loss
        ("lowest val/loss", 1.0),
        ("highest val/loss", 4.0),
        ("epoch 2 val/loss", 1.0),
        ("change val/loss", -2.0),
        ("rises val/loss", 0.5),
        ("falls val/loss", 0.5),
        ("val/loss + val/mae", 6.0),
        ("val_loss_std", 1.247219128924647),
        ("improvement", 1.0),
        ("gap", 1.0),
        ("spikes", 1.0),
        ("spikes_first_epoch", 0.0),
        ("largest_jump", 20.0 / 2.3),
        ("clip_rate", 0.5),
        ("findings", 3.0),
        ("findings/plateau", 1.0),
        ("findings/zero_flow", 1.0),
        ("findings/collapse", 1.0),
        ("findings/overfitting", 0.0),
        ("epochs", 3.0),
        ("epoch 9 val/loss", math.nan),
        ("val/psnr", math.nan),
    ],
)
def test_a_figure_is_what_its_name_says(run, name, value):
    assert figure(run, name) == pytest.approx(value, nan_ok=True, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("val/mea", "no metric 'val/mea'. Did you mean 'val/mae'? Known: val_loss_std, improvement"),
        ("gpa", "Did you mean 'gap'?"),
        ("worst val/mae", "'worst' is not said of a metric. Known: final, first, best"),
        ("val/mae + val/mea", "no metric 'val/mea'"),
        ("findings/zero_flaw", "the doctor finds no 'zero_flaw'. Known: non_finite, "),
    ],
)
def test_an_unknown_figure_lists_those_there_are(name, says):
    with pytest.raises(UnknownFigure) as caught:
        check_figure(name, ["val/loss", "val/mae"])
    assert says in str(caught.value)
    if says.startswith("no metric 'val/mea'."):
        assert "val/loss, val/mae" in str(caught.value)


def test_which_figures_are_in_units_of_the_loss_and_which_are_compared_by_factors():
    names = ("val_loss_std", "best val/loss", "val/loss/mse", "spikes", "val/loss + gap")
    assert [of_loss(name) for name in names] == [True, True, False, False, True]
    assert [is_ratio(name) for name in ("val_loss_std", "spread val/mae", "val/mae")] == [True, True, False]
