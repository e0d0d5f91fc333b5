"""Random numbers as functions of the place in the run."""

import random

import numpy as np
import torch
from ignite.engine import Engine

from ignition.randomness import IterationSeed, borrowed_generators, mix, seed_all


def draws():
    return torch.rand(1).item(), np.random.rand(), random.random()


def test_borrowed_generators_are_given_back_whatever_happens():
    seed_all(1)
    expected = draws()
    seed_all(1)
    try:
        with borrowed_generators():
            seed_all(2)
            assert draws() != expected
            raise KeyError
    except KeyError:
        pass
    assert draws() == expected


def test_numbers_that_are_close_together_give_seeds_that_are_not():
    seeds = {mix(0, epoch, index) for epoch in range(30) for index in range(30)}
    assert len(seeds) == 900
    assert max(seeds) > 2**62
    assert min(seeds) >= 0


def drawn(start, *, disturb=False, **keywords):
    """What the iterations after ``start`` draw."""
    numbers = {}
    engine = Engine(lambda engine, batch: numbers.__setitem__(engine.state.iteration, draws()))
    IterationSeed(5, **keywords).attach(engine)
    engine.load_state_dict({"iteration": start, "max_epochs": 1, "epoch_length": 6})
    if disturb:
        torch.rand(100)
    engine.run(range(6 - start))
    return numbers


def test_an_iteration_draws_the_same_whatever_came_before_it():
    whole, resumed = drawn(0), drawn(3, disturb=True)
    assert resumed == {iteration: whole[iteration] for iteration in (4, 5, 6)}
    assert len(set(whole.values())) == 6


def test_processes_and_streams_draw_different_numbers():
    assert len({drawn(0)[1], drawn(0, process=1)[1], drawn(0, stream=1)[1]}) == 3
