from collections import Counter, OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from ignition.checkpoint_file import NotFinite, check_finite, check_plain, load, moved, save

NAN, INF = float("nan"), float("inf")
Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize("plain", [
    "text", 3, 2**70, 0.5, NAN, True, None, b"bytes", 1j, (0.9, 0.999), [1, [2]], {"a": {1: "b"}, (1, 2): 3},
    OrderedDict(a=1), Counter({30: 1}), torch.Size([1, 2]), torch.float16, torch.device("cpu"),
    torch.nn.Parameter(torch.ones(2)), torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.uint8),
], ids=str)  # fmt: skip
def test_what_is_plain_comes_back_as_it_was(tmp_path, plain):
    check_plain(plain)
    save(tmp_path / "a.pt", {"version": 1, "value": plain})
    back = load(tmp_path / "a.pt")["value"]
    assert type(back) is type(plain)
    assert torch.equal(back, plain) if isinstance(plain, torch.Tensor) else repr(back) == repr(plain)


@pytest.mark.parametrize(("value", "kind"), [
    (np.float64(1), "float64"), (np.ones(1), "ndarray"), (Path("x"), "PosixPath"), ({1}, "set"),
    (lambda: 0, "function"), (Pair(1, 2), "Pair"), (torch.nn.Linear(1, 1), "Linear"), (bytearray(b"a"), "bytearray"),
], ids=lambda given: given if isinstance(given, str) else "")  # fmt: skip
def test_what_is_not_is_refused_with_its_place_and_nothing_is_written(tmp_path, value, kind):
    with pytest.raises(TypeError, match=rf"^optimizer\.groups\[1\]\.betas is a {kind}; a checkpoint holds tensors"):
        save(tmp_path / "a.pt", {"version": 1, "optimizer": {"groups": [1, {"betas": value}]}})
    assert list(tmp_path.iterdir()) == []


def test_keys_must_be_plain_too():
    with pytest.raises(TypeError, match="a key of optimizer is a PosixPath"):
        check_plain({"optimizer": {Path("x"): 1}})


def test_every_state_of_torchs_own_optimizers_and_schedulers_can_be_saved(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    for make in (torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.NAdam):
        optimizer = make([parameter], lr=0.1)
        parameter.square().sum().backward()
        optimizer.step()
        states = {
            name: schedule(optimizer).state_dict()
            for name, schedule in {
                "steps": lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]),
                "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
                "plateau": torch.optim.lr_scheduler.ReduceLROnPlateau,
            }.items()
        }
        scaler = torch.amp.GradScaler("cpu", enabled=False).state_dict()
        save(tmp_path / "a.pt", {"version": 1, "optimizer": optimizer.state_dict(), "scaler": scaler, **states})
        back = load(tmp_path / "a.pt")["optimizer"]
        assert back["param_groups"] == optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn])
def test_a_model_that_is_not_finite_is_found_and_named(dtype):
    broken = torch.tensor([1.0, NAN]).to(dtype)
    payload = {"model": {"a": torch.ones(1), "b": [broken, torch.arange(3)]}, "optimizer": {"moment": broken}}
    with pytest.raises(NotFinite, match=r"^has values that are not finite in model\.b\[0\]$"):
        check_finite(payload)
    check_finite({"optimizer": {"moment": broken}})  # no model, nothing to find
    with pytest.raises(NotFinite, match=r"optimizer\.moment"):
        check_finite(payload, ["optimizer"])


def test_what_is_infinite_by_design_is_passed_over():
    payload = {
        "model": {"mask": torch.tensor([0.0, -INF]), "weight": torch.tensor([INF])},
        "not_finite": ["model.mask"],
    }
    with pytest.raises(NotFinite, match=r"in model\.weight$"):
        check_finite(payload)


def test_many_are_not_all_named():
    with pytest.raises(NotFinite, match="in model.0, model.1, model.2 and 7 more"):
        check_finite({"model": {number: torch.tensor(NAN) for number in range(10)}})


def test_moved_keeps_the_structure():
    value = {"a": [torch.ones(1), "b"], "c": (torch.ones(2), 3), "d": OrderedDict(e=torch.ones(3))}
    there = moved(value, "meta")
    assert there["a"][0].is_meta and there["c"][0].is_meta and there["d"]["e"].is_meta
    assert (there["a"][1], there["c"][1], type(there["c"]), type(there["d"])) == ("b", 3, tuple, OrderedDict)
