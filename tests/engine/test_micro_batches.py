"""Batches that are cut and put together again, and how small they get."""

import pytest
import torch

from ignition import distributed
from ignition.engine.micro_batches import CannotSplit, MicroBatches, OutOfMemory, is_out_of_memory, join, split


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),  # somebody's words, no allocator's
    ],
)
def test_what_says_that_memory_is_too_small(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_a_batch_of_everything_is_cut_and_put_together():
    boxes = [torch.zeros(count, 4) for count in (2, 0, 5)]
    batch = {
        "image": torch.arange(12.0).reshape(3, 4),
        "pair": (torch.arange(3), torch.arange(3.0)),
        "targets": [{"boxes": box, "id": number} for number, box in enumerate(boxes)],
        "names": ["a", "b", "c"],
        "temperature": torch.tensor(0.5),
        "nothing": None,
    }
    first, last = split(batch, 2)
    assert len(first["names"]) == 1  # of nearly equal sizes
    assert first["image"].data_ptr() == batch["image"].data_ptr()  # a view
    assert [target["id"] for target in first["targets"]] == [0] and last["targets"][1]["boxes"].shape == (5, 4)
    assert (
        last["pair"][1].tolist() == [1.0, 2.0]
        and last["names"] == ["b", "c"]
        and first["temperature"] is batch["temperature"]
    )
    for piece in (first, last):
        piece.pop("temperature")
    whole = join([first, last], [1, 2])
    assert torch.equal(whole["image"], batch["image"])
    assert isinstance(whole["pair"], tuple) and torch.equal(whole["pair"][1], batch["pair"][1])
    assert [target["boxes"].shape[0] for target in whole["targets"]] == [2, 0, 5]
    assert whole["names"] == batch["names"] and whole["nothing"] is None


def test_a_collated_pair_is_two_tensors_also_where_there_are_two_samples():
    assert [[item.tolist() for item in piece] for piece in split([torch.tensor([1, 2]), torch.tensor([3, 4])], 1)] == [
        [[1], [3]], [[2], [4]]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"x": torch.zeros(4, 2), "camera": torch.zeros(3, 3)}, r"the batch\['camera'\] has shape \[3, 3\], and there"),
        # two samples of two boxes each, or two tensors of two samples?
        ({"x": torch.zeros(2, 2), "boxes": [torch.zeros(2, 4)] * 2}, r"\['boxes'\] is a list of 2 tensors, of each"),
    ],
)
def test_what_could_be_cut_wrongly_is_not_cut(batch, message):
    with pytest.raises(CannotSplit, match=message):
        split(batch, 1)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([torch.tensor(1.0), torch.tensor(2.0)], r"has shape \[\] for 2 samples"),  # a mean over samples?
        ([torch.zeros(2, 3), torch.zeros(1, 5)], r"has another shape for other samples, \[2, 3\] here"),
        ([{"loss": 0.5}, {"loss": 0.25}], r"the output\['loss'\] is a float that differs"),
    ],
)
def test_outputs_that_are_not_of_samples_are_not_put_together(pieces, message):
    with pytest.raises(CannotSplit, match=message):
        join(pieces, [2, 1])


def test_halves_until_one_sample_is_too_large():
    micro, sizes = MicroBatches(), []
    with pytest.raises(OutOfMemory) as caught:
        while micro.settle(13, "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"):
            sizes.append(micro.size)
    assert sizes == [7, 4, 2, 1]
    assert str(caught.value) == (
        "a batch does not fit into memory (CUDA out of memory. Tried to allocate 2.00 GiB), and has been tried one "
        "sample at a time. Make samples or model smaller, compute in 16 bits (trainer.amp=auto), or set "
        "data.batch_size lower"
    )


def test_a_smaller_batch_that_fails_halves_itself_and_not_the_limit():
    micro = MicroBatches(16)
    micro.settle(6, "out of memory")
    assert micro.size == 3


def test_two_processes_take_the_smaller_size_of_both(monkeypatch):
    def other(answer):
        monkeypatch.setattr(distributed, "highest", lambda asked: [max(pair) for pair in zip(asked, answer)])

    micro = MicroBatches()
    other([0, -(2**31), 0])  # fine there as well
    assert not micro.settle(8, together=True) and micro.size is None
    other([1, -2, 0])  # the other one failed with 4
    assert micro.settle(8, together=True) and micro.size == 2
    other([0, -1, 2])  # it has failed before, alone, and goes on with 1
    assert not micro.settle(8, together=True) and micro.size == 1
    assert micro.failures == 2 and micro.untold
    other([2, -1, 0])
    with pytest.raises(OutOfMemory, match="on another process"):
        micro.settle(8, together=True)


def test_is_said_once_with_the_setting(caplog):
    micro = MicroBatches()
    micro.settle(8, "CUDA out of memory")
    micro.settle(8, "CUDA out of memory")
    micro.tell("iteration 3")
    micro.tell("iteration 4")
    assert caplog.messages == [
        "iteration 3: a batch did not fit into memory (CUDA out of memory); from here on 2 samples at a time go "
        "through the model. To begin so: trainer.micro_batch=2"
    ]


def test_what_was_learned_is_kept_until_another_size_is_asked_for():
    micro = MicroBatches()
    micro.settle(8, "out of memory")
    resumed, larger = MicroBatches(), MicroBatches(6)
    resumed.load_state_dict(micro.state_dict())
    larger.load_state_dict(micro.state_dict())
    assert (resumed.size, resumed.failures, larger.size, larger.failures) == (4, 1, 6, 1)


@pytest.mark.parametrize(
    ("settings", "message"), [({"size": 0}, "size is 0"), ({"policy": "skip"}, "policy is 'skip'")]
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MicroBatches(**settings)
