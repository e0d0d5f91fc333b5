import errno
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from ignition.checkpoint_file import choose_weights, save_weights, state_of
from ignition.checkpoint_file import file as checkpoint_file_file
from ignition.checkpoint_file.weights import is_of


def payload(module, **told):
    return {
        "version": 1,
        "iteration": 7,
        "score": 0.25,
        "metric": "loss",
        "mode": "min",
        **told,
        "model": state_of(module),
    }


def metadata(path):
    with safe_open(path, "pt") as weights:
        return weights.metadata()


class Tied(nn.Module):
    """Weights that share memory, are turned, repeated, of many kinds, empty and without a dimension."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.turned = nn.Parameter(torch.arange(6.0).view(2, 3).t())
        self.register_buffer("repeated", torch.ones(1).expand(4))
        self.register_buffer("part", torch.arange(100)[10:13])
        self.register_buffer("count", torch.tensor(5))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("none", torch.empty(0, 2))

    def get_extra_state(self):
        return {"note": "no tensor"}

    def set_extra_state(self, state):
        pass


def test_the_library_reads_what_was_written(tmp_path):
    model, path = Tied(), tmp_path / "a.safetensors"
    save_weights(path, payload(model), ["model"])
    back = load_file(path)
    tensors = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    assert back.keys() == tensors.keys() and {"encoder.weight", "decoder.weight"} <= back.keys()
    assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items())
    other = Tied()
    other.repeated = torch.zeros(4)  # torch writes to no memory that is there several times
    assert other.load_state_dict(back, strict=False).missing_keys == ["_extra_state"]
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("dtype", [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
], ids=str)  # fmt: skip
def test_every_kind_of_number_is_read_bit_for_bit(tmp_path, dtype):
    torch.manual_seed(0)
    numbers = torch.randint(0, 2, (5, 7)).to(dtype) if dtype == torch.bool else (torch.randn(5, 7).abs() * 9).to(dtype)
    # one of a byte and an odd number of elements before it in the file would shift it, were they not in order
    save_weights(tmp_path / "a.safetensors", {"model": {"a": torch.ones(3, dtype=torch.int8), "b": numbers}}, ["model"])
    back = load_file(tmp_path / "a.safetensors")["b"]
    assert back.dtype == dtype and torch.equal(back.view(torch.uint8), numbers.view(torch.uint8))


def test_the_header_tells_whose_weights_they_are(tmp_path):
    path, model = tmp_path / "a.safetensors", nn.Linear(1, 1)
    save_weights(path, payload(model), ["model"])
    told = metadata(path)
    assert len(told.pop("crc32")) == 8
    assert told == {
        "format": "pt", "iteration": "7", "score": "0.25", "metric": "loss", "mode": "min", "weights_of": "model",
    }  # fmt: skip
    save_weights(path, payload(model, score=None, metric=None), ["model"])
    assert metadata(path).keys() == {"format", "iteration", "mode", "weights_of", "crc32"}


def test_a_file_is_known_to_be_of_a_checkpoint_or_not(tmp_path):
    path, head = tmp_path / "a.safetensors", {"iteration": 7, "score": 0.25, "metric": "loss", "mode": "min"}
    assert not is_of(path, head, ["model"])
    save_weights(path, payload(nn.Linear(9, 9)), ["model"])
    assert is_of(path, head, ["model"])
    assert not is_of(path, {**head, "iteration": 8}, ["model"]) and not is_of(path, {**head, "score": 0.5}, ["model"])
    assert not is_of(path, head, ["ema"])
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little") + 8
    for place in (0, 5, 9, 30, header, header + 50, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert not is_of(path, head, ["model"]), place
    for cut in (0, 1, 8, header, len(data) - 1):
        path.write_bytes(data[:cut])
        assert not is_of(path, head, ["model"])


def test_several_modules_have_their_names_in_front(tmp_path):
    modules = {"generator": nn.Linear(1, 2), "judge": nn.Linear(2, 1)}
    states = {name: state_of(module) for name, module in modules.items()}
    save_weights(tmp_path / "a.safetensors", states, choose_weights(True, modules))
    assert sorted(load_file(tmp_path / "a.safetensors")) == [
        "generator.bias", "generator.weight", "judge.bias", "judge.weight",
    ]  # fmt: skip
    save_weights(tmp_path / "a.safetensors", states, choose_weights("judge", modules))
    assert sorted(load_file(tmp_path / "a.safetensors")) == ["bias", "weight"]
    assert choose_weights(False, modules) == ()


def test_what_cannot_be_written_is_told_before_anything_is_trained():
    model = nn.Linear(1, 1)
    with pytest.raises(
        ValueError, match="safetensors is True; it takes the weights of modules: none among the objects"
    ):
        choose_weights(True, {})
    with pytest.raises(ValueError, match="safetensors is 'ema'; it takes the weights of modules: model"):
        choose_weights("ema", {"model": model})
    model.register_buffer("roots", torch.ones(2, dtype=torch.complex128))
    with pytest.raises(ValueError, match=r"no place for 'roots', which is torch\.complex128"):
        choose_weights(True, {"model": model})


def test_it_is_on_the_disk_and_checked_before_it_gets_its_name(tmp_path, monkeypatch):
    path, done = tmp_path / "a.safetensors", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replace"), replace(a, b)))
    save_weights(path, payload(nn.Linear(9, 9)), ["model"])
    assert done == [str(tmp_path / f".tmp-{os.getpid()}-a.safetensors.part"), "replace", str(tmp_path)]
    before = path.read_bytes()

    def garble(file):
        fsync(file)
        os.pwrite(os.open(f"/proc/self/fd/{file}", os.O_WRONLY), b"\x55" * 9, len(before) - 20)

    monkeypatch.setattr(os, "fsync", garble)
    with pytest.raises(OSError, match=r"a\.safetensors was not written: read back, it is damaged"):
        save_weights(path, payload(nn.Linear(9, 9)), ["model"])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_weights(path, payload(nn.Linear(9, 9)), ["model"])
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint_file_file.os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.safetensors was not written: disk full: it needs 4\.0 MiB"):
        save_weights(path, payload(nn.Linear(1024, 1024)), ["model"])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]
