"""Order and randomness of samples as pure functions; failures that say which sample."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.data import BadSample, BatchSampler, EvaluationSampler, Loader, SampleKey, SeededDataset, count_samples


class Noise(torch.utils.data.Dataset):
    """Samples that draw from every generator there is."""

    def __init__(self, length=12, broken=()):
        self.length, self.broken = length, broken

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError(f"/data/{index}.png: truncated")
        return {"index": index, "noise": torch.rand(2), "other": np.random.rand() + random.random()}


def seen(loader, epoch, batch=0):
    loader.sampler.seek(epoch=epoch, batch=batch)
    return [(b["index"].tolist(), b["noise"].tolist(), b["other"].tolist()) for b in loader]


def loader(workers=0, **keywords):
    dataset = Noise()
    return Loader(dataset, BatchSampler(len(dataset), 5, seed=7, **keywords), seed=7, workers=workers)


def test_each_epoch_has_every_sample_once_in_an_order_of_its_own():
    data = loader()
    orders = [[i for indices, _, _ in seen(data, epoch) for i in indices] for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == list(range(12))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_the_middle_of_an_epoch_is_the_same_whether_or_not_its_beginning_was_read():
    assert seen(loader(), epoch=3)[1:] == seen(loader(), epoch=3, batch=1)


def test_the_number_of_workers_changes_no_sample():
    assert seen(loader(workers=0), epoch=2) == seen(loader(workers=2), epoch=2)


def test_a_sample_differs_from_epoch_to_epoch():
    first, second = (
        {index: noise for indices, noises, _ in seen(loader(), epoch) for index, noise in zip(indices, noises)}
        for epoch in (0, 1)
    )
    assert all(first[index] != second[index] for index in range(12))


def test_reading_samples_leaves_the_global_generators_alone():
    np.random.seed(0), random.seed(0)
    expected = np.random.rand(), random.random()
    np.random.seed(0), random.seed(0)
    dataset = SeededDataset(Noise(), seed=3)
    before = torch.get_rng_state()
    dataset.__getitems__([SampleKey(0, index) for index in range(12)])
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.rand(), random.random()) == expected


@given(
    length=st.integers(1, 60), batch_size=st.integers(1, 8), world=st.sampled_from([1, 2, 3]), epoch=st.integers(0, 5)
)
@settings(max_examples=60, deadline=None)
def test_processes_share_the_batches_that_one_process_would_see(length, batch_size, world, epoch):
    batch_size *= world
    alone = BatchSampler(length, batch_size, seed=3)
    alone.seek(epoch=epoch)
    shares = [BatchSampler(length, batch_size, seed=3, rank=rank, world_size=world) for rank in range(world)]
    for share in shares:
        share.seek(epoch=epoch)
    together = [set().union(*parts) for parts in zip(*shares)]
    whole = [set(batch) for batch in alone]
    assert together == whole[: len(shares[0])]
    assert all(len(share) == len(shares[0]) for share in shares)
    left_out = len(whole) - len(together)
    assert left_out == (0 < length % batch_size < world)  # a last batch too small for all is left out


@given(length=st.integers(1, 40), batch_size=st.integers(1, 7), world=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_evaluation_sees_every_sample_exactly_once_over_all_processes(length, batch_size, world):
    indices = []
    for rank in range(world):
        sampler = EvaluationSampler(length, batch_size, rank=rank, world_size=world)
        mine = list(sampler)
        assert len(mine) == len(sampler)
        indices += [key.index for batch in mine for key in batch]
    assert sorted(indices) == list(range(length))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_sample_is_named_without_a_worker_s_traceback(workers):
    data = Loader(Noise(broken={4}), BatchSampler(12, 3, shuffle=False), workers=workers, split="train")
    with pytest.raises(BadSample, match=r"^sample 4 of the train data: /data/4.png: truncated$") as caught:
        list(data)
    assert "Traceback" in caught.value.details


def test_samples_that_do_not_fit_together_are_told():
    data = Loader([torch.zeros(2), torch.zeros(3)], BatchSampler(2, 2), split="val")
    with pytest.raises(BadSample, match="samples of the val data do not fit into one batch"):
        list(data)


def test_an_empty_split_is_refused_by_name():
    with pytest.raises(ValueError, match="the val data is empty"):
        Loader([], BatchSampler(0, 2), split="val")


def test_samples_are_counted_in_any_nesting():
    assert count_samples([{"a": "text"}, {"b": (torch.zeros(3, 2),)}]) == 3
    assert count_samples({"names": ["a", "b"]}) == 0


def test_without_a_word_each_pass_is_the_next_epoch():
    sampler = BatchSampler(6, 2, seed=3)
    passes = [[key.epoch for batch in sampler for key in batch] for _ in range(3)]
    assert passes == [[0] * 6, [1] * 6, [2] * 6]


def test_who_seeks_another_place_in_the_middle_of_a_pass_finds_it():
    sampler = BatchSampler(6, 2, seed=3)
    batches = iter(sampler)
    next(batches)
    sampler.seek(epoch=5, batch=2)
    list(batches)
    assert [key.epoch for batch in sampler for key in batch] == [5, 5]
