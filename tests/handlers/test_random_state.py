import random

import numpy as np
import pytest
import torch

from ignition import checkpoint_file
from ignition.handlers.random_state import RandomState


def draw():
    """A number of each generator; the normal ones keep a spare inside."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), *torch.randn(3).tolist()]


@pytest.fixture(autouse=True)
def _others_keep_their_numbers():
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(kept[0])
    np.random.set_state(kept[1])
    torch.set_rng_state(kept[2])


def test_all_generators_go_on_where_they_were_out_of_a_file(tmp_path):
    draw()  # leaves spares of the normal numbers inside
    checkpoint_file.save(tmp_path / "a.pt", {"version": 1, "random": RandomState().state_dict()})
    expected = draw()
    draw()
    RandomState().load_state_dict(checkpoint_file.load(tmp_path / "a.pt")["random"])
    assert draw() == expected


def test_taking_the_state_changes_nothing():
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = draw()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    RandomState().state_dict()
    assert draw() == expected


def test_a_state_of_a_machine_with_cuda_loads_without():
    state = RandomState().state_dict()
    state["processes"][0]["cuda"] = [torch.get_rng_state()] * 8
    RandomState().load_state_dict(state)


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_devices_generator_goes_on_wherever_the_state_was_loaded_to(device):
    torch.rand(1, device=device)
    state = checkpoint_file.moved(RandomState().state_dict(), device)
    expected = torch.rand(4, device=device).tolist()
    RandomState().load_state_dict(state)
    assert torch.rand(4, device=device).tolist() == expected


PROGRAM = """
import sys, torch
from ignition import distributed
from ignition.handlers.random_state import RandomState
with distributed.process_group("cpu"):
    torch.manual_seed(distributed.rank())
    state = RandomState().state_dict()
    expected = torch.rand(1).item()
    torch.rand(5)
    RandomState().load_state_dict(state)
    print(len(state["processes"]), expected == torch.rand(1).item(), expected)
    one = {"processes": state["processes"][:1]}
    torch.manual_seed(7 + distributed.rank())
    own = torch.rand(1).item()
    torch.manual_seed(7 + distributed.rank())
    RandomState().load_state_dict(one)  # of a run on one process
    print(own == torch.rand(1).item())
"""


def test_each_process_gets_its_own_back(two_processes):
    first, second = (output.split() for output in two_processes(PROGRAM))
    assert first[:2] == second[:2] == ["2", "True"] and first[2] != second[2]
    assert (first[3], second[3]) == ("False", "True")  # the second is not in it, and keeps its numbers
