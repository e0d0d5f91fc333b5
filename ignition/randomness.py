"""Random numbers as functions of seed and place in the run: nothing is replayed, so nothing is replayed wrongly."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from ignite.engine import Engine, Events


def mix(*numbers: int) -> int:
    """One well-mixed 63-bit number out of several: equal for equal ones, unrelated otherwise.

    >>> mix(0, 1) == mix(0, 1), mix(0, 1) == mix(1, 0)
    (True, False)
    """
    text = ",".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_all(seed: int) -> None:
    """Seed the generators of torch (CPU), numpy and python."""
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    random.seed(seed)


@contextmanager
def borrowed_generators() -> Iterator[None]:
    """Within the block the generators of torch (CPU), numpy and python may be seeded; after it they go on as before."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


class IterationSeed:
    """Seeds torch's, numpy's and python's generators anew at every iteration from (seed, stream, process, iteration).

    What a batch meets (augmentation, dropout, latent noise) then depends on where in the run it stands and on nothing
    that came before: a resumed run draws the same numbers, and an evaluation in between changes none of them.

    Args:
        seed: the run's seed.
        stream: tells engines apart that must not share numbers (a trainer 0, an evaluator 1).
        process: this process's rank, so that processes draw different numbers.
    """

    def __init__(self, seed: int, *, stream: int = 0, process: int = 0):
        self.key = (seed, stream, process)

    def attach(self, engine: Engine) -> None:
        """Seed at each ``ITERATION_STARTED``; attach it before anything that draws numbers."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = mix(*self.key, engine.state.iteration)
        seed_all(seed)  # not torch.manual_seed: it asks every backend there is, at a hundred times the price
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.default_generators[torch.cuda.current_device()].manual_seed(seed)
