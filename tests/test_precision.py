"""Where batches go and how wide numbers are."""

from typing import NamedTuple

import pytest
import torch

from ignition.precision import Precision


class Pair(NamedTuple):
    image: torch.Tensor
    name: str


def test_tensors_in_any_nesting_are_placed_and_the_rest_goes_through():
    batch = {"pair": Pair(torch.zeros(1, 3, 4, 4), "a"), "list": [torch.ones(2)], "text": "b"}
    placed = Precision("cpu", channels_last=True).place(batch)
    assert isinstance(placed["pair"], Pair)
    assert placed["pair"].image.is_contiguous(memory_format=torch.channels_last)
    assert placed["list"][0] is batch["list"][0]  # nothing to move, nothing copied
    assert placed["text"] == "b"


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_is_as_wide_as_asked(amp, dtype):
    with Precision("cpu", amp=amp).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_the_loss_scale_survives_a_resume_and_a_change_of_mode():
    saved = Precision("cpu", amp="fp16")
    saved.scaler.load_state_dict({**saved.state_dict(), "scale": 1024.0})
    resumed, plain = Precision("cpu", amp="fp16"), Precision("cpu")
    resumed.load_state_dict(saved.state_dict())
    plain.load_state_dict(saved.state_dict())
    assert (resumed.loss_scale, plain.loss_scale) == (1024.0, 1.0)
    resumed.load_state_dict(plain.state_dict())
    assert resumed.loss_scale == 1024.0


def test_an_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match="off, auto, bf16, fp16"):
        Precision("cpu", amp="int8")


@pytest.mark.parametrize(("hardware", "amp"), [(True, "bf16"), (False, "off")])
def test_auto_takes_bf16_only_where_it_is_in_hardware(monkeypatch, hardware, amp):
    monkeypatch.setattr("ignition.precision.computes_bf16", lambda device: hardware)
    assert Precision("cpu", amp="auto").amp == amp


def test_auto_leaves_a_cpu_alone():
    assert Precision("cpu", amp="auto").amp == "off"  # its bf16 convolutions are not to be trusted


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_reach_the_device():
    assert Precision("cuda").place({"x": torch.ones(1)})["x"].device.type == "cuda"
