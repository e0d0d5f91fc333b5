import pytest
import torch
from torch import nn

from ignition.checkpoint_file import give_state, infinite_buffers, misfits, state_of


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def compiled(module):
    return torch.compile(module, backend="eager")


def partly_compiled():
    model = network()
    model[0] = compiled(model[0])
    return model


PLAIN = ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"]
WRAPPED = {
    "plain": network,
    "compiled": lambda: compiled(network()),
    "compiled within": partly_compiled,
    "parallel": lambda: nn.DataParallel(network()),
    "both": lambda: compiled(nn.DataParallel(compiled(network()))),
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("into", WRAPPED)
def test_names_are_plain_and_load_into_any_wrapping(wrapped, into):
    source, target = WRAPPED[wrapped](), WRAPPED[into]()
    state = state_of(source)
    assert list(state) == PLAIN
    assert misfits(target, state) == []
    give_state(target, state)
    assert all(torch.equal(value, state_of(source)[name]) for name, value in state_of(target).items())


def test_a_module_that_really_is_called_module_keeps_its_name():
    model = torch.optim.swa_utils.AveragedModel(nn.Linear(1, 1))
    assert list(state_of(model)) == ["n_averaged", "module.weight", "module.bias"]


def test_other_objects_are_saved_as_they_say():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.25)
    assert state_of(optimizer)["param_groups"][0]["lr"] == 0.25


def test_what_does_not_fit_is_told_in_words():
    state = state_of(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)))
    assert misfits(network(), state) == [
        "it lacks 1.running_mean, 1.running_var, 1.num_batches_tracked",
        "0.weight is [4, 2] there and [3, 2] here, 0.bias is [4] there and [3] here, "
        "1.weight is [1, 4] there and [3] here, ...",
    ]
    assert misfits(network(), {**state_of(network()), "head": 1}) == ["it has besides head"]
    assert misfits(network(), [1]) == ["it is a list and no module's state"]


def test_buffers_of_infinity_are_there_by_design_and_those_of_nan_are_not():
    model = network()
    model.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))
    model.register_buffer("broken", torch.tensor([float("nan"), float("inf")]))
    with torch.no_grad():
        model[0].weight.fill_(float("inf"))  # a parameter never is
    assert infinite_buffers(compiled(model)) == ["mask"]
