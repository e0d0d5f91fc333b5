"""What measures a run, by the config."""

import pytest
from torch import nn

from ignition import assembly
from ignition.config import Config


def measurements(**stability):
    return assembly.measurements_of(Config(stability=stability), nn.Linear(1, 1), print)


def test_all_measure_as_often_as_the_config_says():
    assert (measurements().layers.every, measurements().terms.every) == (50, 50)
    found = measurements(measure_every=7)
    assert (found.layers.every, found.terms.every) == (7, 7)


@pytest.mark.parametrize("stability", [{"measure_every": 0}, {"watch": False}])
def test_nothing_is_measured_that_nobody_looks_at(stability):
    assert measurements(**stability) is None


def test_a_trial_measures_nothing():
    assert Config().quiet().stability.measure_every == 0
