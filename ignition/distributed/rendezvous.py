"""Where the processes of one start of a run find each other, and none that was there before them."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

POLL_SECONDS = 0.02


def meet(timeout: timedelta) -> tuple[dist.Store, int, int]:
    """A store for this start of the processes alone, this one's rank, and how many there are.

    torchrun keeps its store when it starts processes again (seen in torch 2.15), and with it the addresses of those
    that are gone: the new ones would try to connect to them. How often it has started them is no way to tell starts
    apart, for over several hosts each counts for itself. So process 0 thinks of a name, which the others ask it for:
    an answer to a question that nobody has asked before cannot be an old one.

    Raises:
        RuntimeError: they did not all come within ``timeout``.
    """
    store, rank, world_size = next(rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    if rank == 0:
        name = _answer_all(store, world_size - 1, time.monotonic() + timeout.total_seconds())
    else:
        name = _ask(store)
    return dist.PrefixStore(name, store), rank, world_size


def _ask(store: dist.Store) -> str:
    question = secrets.token_hex(8)
    store.set(f"question/{store.add('questions', 1)}", question)
    name = store.get(f"answer/{question}").decode()  # waits for it
    store.add(f"heard/{name}", 1)
    return name


def _answer_all(store: dist.Store, others: int, deadline: float) -> str:
    """Answer every question, also of those who are gone, until as many have heard as there are now."""
    name, answered = secrets.token_hex(8), set[int]()
    while store.add(f"heard/{name}", 0) < others:
        waiting = [number for number in range(1, store.add("questions", 0) + 1) if number not in answered]
        for number in waiting:
            if store.check([f"question/{number}"]):  # else it is about to be asked
                store.set(f"answer/{store.get(f'question/{number}').decode()}", name)
                answered.add(number)
        if time.monotonic() > deadline:
            raise RuntimeError(f"of the {others} other processes not all have come in time")
        time.sleep(POLL_SECONDS)
    return name
