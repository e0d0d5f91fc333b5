"""Samples whose randomness is their own."""

import random

import numpy as np
import torch

from ignition.data import SampleKey, SeededDataset
from tests.data.noise import Noise


def test_reading_samples_leaves_the_global_generators_alone():
    np.random.seed(0), random.seed(0)
    expected = np.random.rand(), random.random()
    np.random.seed(0), random.seed(0)
    dataset = SeededDataset(Noise(), seed=3)
    before = torch.get_rng_state()
    dataset.__getitems__([SampleKey(0, index) for index in range(12)])
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.rand(), random.random()) == expected
