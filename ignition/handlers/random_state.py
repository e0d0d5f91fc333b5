"""The state of every random number generator, as something that can be saved."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch

from ignition import distributed

log = logging.getLogger(__name__)


class RandomState:
    """The generators of python, numpy and torch (CPU and CUDA), of every process, as plain tensors and numbers.

    Taking and giving back the state is for all processes together; each gets its own back. A process that the saved
    state does not know, since there were fewer then, keeps the numbers that it was seeded with.

    >>> state = RandomState().state_dict()
    >>> first = torch.rand(1), random.random(), np.random.rand()
    >>> RandomState().load_state_dict(state)
    >>> first == (torch.rand(1), random.random(), np.random.rand())
    True
    """

    def state_dict(self) -> dict[str, Any]:
        """The state of each process, in order of rank."""
        return {"processes": distributed.gather(_take())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give each generator its state back."""
        rank, processes = distributed.rank(), state["processes"]
        if rank < len(processes):
            _give(processes[rank])
        else:
            log.info("process %d keeps its random numbers, there were %d processes", rank, len(processes))


def _take() -> dict[str, Any]:
    version, numbers, spare = random.getstate()
    legacy: Any = np.random.get_state()
    name, keys, position, has_spare, numpy_spare = legacy
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "python": [version, torch.tensor(numbers, dtype=torch.int64), spare],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_spare), float(numpy_spare)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if in_use else [],
    }


def _give(state: dict[str, Any]) -> None:
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers.tolist()), spare))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())  # these belong on the CPU wherever the checkpoint was loaded to
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator.cpu(), device)
