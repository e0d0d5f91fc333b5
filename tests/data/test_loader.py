"""Batches that depend on seed and place alone; failures that say which sample."""

import pytest
import torch

from ignition.data import BadSample, BatchSampler, Loader
from tests.data.noise import Noise, loader, seen


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


@pytest.mark.parametrize("workers", [0, 2])
def test_a_blame_in_the_last_batch_counts_in_the_next_pass_whatever_workers_have_been_given(workers):
    data = Loader(Noise(), BatchSampler(12, 4, seed=7, blames=1), seed=7, workers=workers)
    for batch in data:
        last = batch["index"].tolist()
    assert data.sampler.blame(last) == sorted(last)
    assert set(data.sampler.quarantine.values()) == {1}
    assert not set(last) & {index for batch in data for index in batch["index"].tolist()}
    data.close()


def test_a_replacement_looks_as_that_sample_does_in_this_epoch():
    data = Loader(Noise(), BatchSampler(12, 12, seed=7, blames=1), seed=7)
    data.sampler.blame([4])
    ((indices, noises, _),) = seen(data, epoch=1)
    twice = [place for place, index in enumerate(indices) if indices.count(index) == 2]
    assert len(twice) == 2
    assert noises[twice[0]] == noises[twice[1]]


def test_a_quarantine_of_everything_is_told():
    data = Loader(Noise(3), BatchSampler(3, 1, blames=1), split="train")
    data.sampler.blame([0, 2])
    assert [batch["index"].item() for batch in data] == [1, 1, 1]
    data.sampler.blame([1])
    with pytest.raises(BadSample, match="all 3 samples are in quarantine: look at the data, or at what blames it"):
        list(data)
