import io
from collections import Counter, OrderedDict

import pytest
import torch
from torch import nn

from ignition.checkpoint_file import HostCopy


def written(payload):
    """What a file of it would hold."""
    file = io.BytesIO()
    torch.save(payload, file)
    size = file.tell()
    file.seek(0)
    return torch.load(file, weights_only=True), size


def equal(one, other):
    if isinstance(one, torch.Tensor):
        one, other = one.detach(), other.detach()
        return one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
    if isinstance(one, dict):
        return type(one) is type(other) and list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    return one == other


def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    model[2].weight = model[0].weight  # tied
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, optimizer


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()


def test_it_stays_as_it_was_while_the_state_goes_on_to_change():
    (model, optimizer), copy = trained(), HostCopy()
    log = {"rows": [1, [2, 3]], "seen": Counter({"a": 1}), "place": (1, {"b": 2})}
    for _ in range(3):
        step(model, optimizer)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "log": log}
        expected, size = written(state)
        taken = copy.take(state)
        step(model, optimizer)
        log["rows"][1].append(4)
        log["seen"]["a"] += 1
        log["place"][1]["b"] += 1
        copy.wait()
        back, copied_size = written(taken)
        assert equal(back, expected)
        assert copied_size == pytest.approx(size, rel=0.01)  # tied weights are in it once
        assert not equal(written(state)[0], expected)  # the state did change


def test_memory_is_kept_from_one_copy_to_the_next():
    (model, optimizer), copy = trained(), HostCopy()
    step(model, optimizer)

    def places(state):
        return {name: value.data_ptr() for name, value in state.items()}

    first = places(copy.take(model.state_dict()))
    step(model, optimizer)
    second = copy.take(model.state_dict())
    assert set(places(second).values()) == set(first.values())
    assert not set(first.values()) & set(places(model.state_dict()).values())


def test_views_share_memory_as_they_did():
    flat = torch.arange(12.0)
    state = {"flat": flat, "row": flat.view(3, 4)[1], "turned": flat.view(3, 4).t(), "wide": torch.ones(1).expand(5)}
    taken = HostCopy().take(state)
    flat.zero_()
    assert taken["row"].tolist() == [4.0, 5.0, 6.0, 7.0] and taken["turned"].stride() == (1, 4)
    assert taken["row"].untyped_storage().data_ptr() == taken["flat"].untyped_storage().data_ptr()
    assert taken["wide"].tolist() == [1.0] * 5 and taken["wide"].untyped_storage().nbytes() == 4


@pytest.mark.parametrize("make", [
    lambda: torch.tensor(3), lambda: torch.empty(0, 3), lambda: torch.ones(2, dtype=torch.bool),
    lambda: torch.ones(3, dtype=torch.bfloat16), lambda: torch.ones(3).to(torch.float8_e4m3fn),
    lambda: torch.tensor([1 + 2j]).conj(), lambda: torch.eye(3).to_sparse(), lambda: torch.ones(2, requires_grad=True),
    lambda: nn.Parameter(torch.ones(2)), lambda: torch.empty(2, device="meta"),
    lambda: torch.tensor([1 + 2j]).conj().imag,
])  # fmt: skip
def test_every_kind_of_tensor_comes_through(make):
    tensor = make()
    taken = HostCopy().take({"a": tensor})["a"]
    assert type(taken) is type(tensor)
    assert (taken.dtype, taken.shape, taken.requires_grad) == (tensor.dtype, tensor.shape, tensor.requires_grad)
    if not tensor.is_meta:
        dense = [one.detach().to_dense() if one.is_sparse else one.detach() for one in (taken, tensor)]
        assert dense[0].tolist() == dense[1].tolist()


def test_dicts_keep_their_kind_order_and_what_hangs_on_them():
    state = nn.Linear(1, 1).state_dict()
    taken = HostCopy().take({"model": state, "empty": OrderedDict(), "none": None})
    assert list(taken) == ["model", "empty", "none"] and type(taken["empty"]) is OrderedDict
    assert taken["model"]._metadata == state._metadata and taken["model"]._metadata is not state._metadata


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_copy_from_a_gpu_is_of_the_moment_and_pinned():
    weight, copy = torch.ones(1 << 24, device="cuda"), HostCopy()
    for number in range(3):
        weight.fill_(number)
        taken = copy.take({"weight": weight, "count": torch.tensor(number)})
        weight.fill_(-1)
        copy.wait()
        assert taken["weight"].is_pinned() and taken["weight"].device.type == "cpu"
        assert bool((taken["weight"] == number).all()) and taken["count"].item() == number
