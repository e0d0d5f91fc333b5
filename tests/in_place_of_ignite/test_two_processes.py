"""One program as two processes tells all stories of both sides; the last one leaves its processes unable to talk."""

import json

import pytest

from tests.processes import ranks

PROGRAM = """
import json, sys
from datetime import timedelta

import ignite.distributed as idist
import ignite.handlers
import torch
import torch.distributed as dist
from ignite.engine import Events, create_supervised_trainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ignition import distributed
from ignition.data import EvaluationSampler, Loader
from ignition.handlers import NonFiniteSteps


def evaluated(side):
    "Which of five samples this process evaluates."
    if side == "ours":
        loader = Loader(range(5), EvaluationSampler(5, 2, rank=dist.get_rank(), world_size=2))
    else:
        loader = idist.auto_dataloader(range(5), batch_size=2)
    return [int(sample) for batch in loader for sample in batch]


def iterations_with_nan_on_one_process(side):
    "How far this process gets in five iterations; the loss of process 1 is NaN in iteration 2."
    # In ignite's case the other process waits until this time is over; without it, for ever.
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=60 if side == "ours" else 3))
    model = DistributedDataParallel(nn.Linear(1, 1), process_group=group)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    if side == "ours":
        NonFiniteSteps().attach(trainer, optimizer)
    else:
        trainer.add_event_handler(Events.ITERATION_COMPLETED, ignite.handlers.TerminateOnNan())
    one = torch.ones(1, 1)
    loader = [(one, one * float("nan") if i == 2 and dist.get_rank() == 1 else one) for i in range(1, 6)]
    try:
        trainer.run(loader)
        return f"{trainer.state.iteration} done"
    except RuntimeError as error:
        return f"{trainer.state.iteration} hung" if "Timed out" in str(error) else str(error)


with distributed.process_group("cpu", timeout_seconds=60):
    answers = {}
    for side in ("ours", "ignite's"):
        answers[side] = {"evaluated": evaluated(side), "iterations": iterations_with_nan_on_one_process(side)}
    print(json.dumps(answers))
    dist.barrier()
"""


@pytest.fixture(scope="module")
def answers():
    """What each of the two processes printed."""
    return [json.loads(said) for said in ranks("-c", PROGRAM)]


@pytest.mark.in_place_of("V16", "ours", "ignite's", there=r"assert \['3 hung', '2 done'\] == ")
def test_nan_on_one_process_leaves_nobody_waiting(make, answers):
    assert [process[make]["iterations"] for process in answers] == ["5 done", "5 done"]


@pytest.mark.in_place_of("V23", "ours", "ignite's", there="assert 6 == 5")
def test_each_sample_is_evaluated_once(make, answers):
    assert sum(len(process[make]["evaluated"]) for process in answers) == 5
