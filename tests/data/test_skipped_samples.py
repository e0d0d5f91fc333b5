"""Samples that cannot be read: replaced where one trains, left out where one evaluates, named once, counted."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.data import BadSample, BatchSampler, EvaluationSampler, Loader, SampleKey, SeededDataset, SkippedSamples
from ignition.data.bad_sample import Failure
from tests.data.noise import Noise, seen


def training(broken, *, length=40, workers=0, **keywords):
    skipped = SkippedSamples("train", length, replace=True)
    sampler = BatchSampler(length, 5, seed=7, **keywords)
    return Loader(Noise(length, broken), sampler, seed=7, workers=workers, split="train", skipped=skipped)


def evaluation(broken, *, length=40, workers=0, batch_size=5):
    skipped = SkippedSamples("val", length, replace=False)
    sampler = EvaluationSampler(length, batch_size)
    return Loader(Noise(length, broken), sampler, seed=7, workers=workers, split="val", skipped=skipped)


def flat(epoch):
    return [index for indices, _, _ in epoch for index in indices]


@pytest.mark.parametrize("workers", [0, 2])
def test_in_training_another_sample_comes_in_its_place_and_nothing_else_moves(workers):
    whole, skipping = seen(training(()), epoch=2), training({4, 9}, workers=workers)
    found = seen(skipping, epoch=2)
    skipping.close()

    pairs = list(zip(flat(whole), flat(found), strict=True))
    assert [len(batch[0]) for batch in found] == [5] * 8
    assert {old for old, new in pairs if old != new} == {4, 9} == skipping.skipped.known
    assert {4, 9}.isdisjoint(flat(found))
    assert found == seen(training({4, 9}), epoch=2)  # whoever reads them


def test_which_one_comes_depends_on_the_place_alone_so_the_middle_of_an_epoch_needs_no_beginning():
    assert seen(training({4, 9, 11}), epoch=3)[3:] == seen(training({4, 9, 11}), epoch=3, batch=3)
    differ = {tuple(flat(seen(training({4}), epoch))) for epoch in range(3)}
    assert len(differ) == 3


@given(broken=st.sets(st.integers(0, 59), max_size=6), epoch=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_two_processes_see_what_one_would(broken, epoch):
    alone = flat(seen(training(broken, length=60), epoch))
    shares = [seen(training(broken, length=60, rank=rank, world_size=2), epoch) for rank in range(2)]

    together = [index for pair in zip(*shares, strict=True) for part in pair for index in part[0]]

    assert sorted(together) == sorted(alone)
    assert broken.isdisjoint(alone)


def test_what_is_in_quarantine_does_not_come_back_as_a_replacement():
    data = SeededDataset(Noise(6, broken={0}), replace=True)
    keys = [SampleKey(epoch, 0, frozenset({1, 2, 3, 4})) for epoch in range(8)]
    assert [read.sample["index"] for read in data.__getitems__(keys)] == [5] * 8


@pytest.mark.parametrize("workers", [0, 2])
def test_in_an_evaluation_it_is_left_out_and_so_is_a_batch_of_nothing_else(workers):
    data = evaluation({7, 20, 21}, workers=workers, batch_size=2)
    sizes = [len(batch["index"]) for batch in data]
    again = [index for batch in data for index in batch["index"].tolist()]
    data.close()

    assert len(data) == 20 and sizes == [2, 2, 2, 1, *[2] * 15]
    assert again == [index for index in range(40) if index not in (7, 20, 21)]
    assert data.skipped.counts() == (37, 3)


def test_each_is_named_once_also_after_a_resume(caplog):
    with caplog.at_level(logging.WARNING):
        data = training({4})
        seen(data, epoch=0), seen(data, epoch=1)
        resumed = training({4})
        resumed.skipped.load_state_dict(data.skipped.state_dict())
        seen(resumed, epoch=2)
    assert [record.message for record in caplog.records] == [
        "sample 4 of the train data: /data/4.png: truncated; another one comes in its place"
    ]
    assert resumed.skipped.state_dict() == {"known": [4]}


@pytest.mark.parametrize("make", [training, evaluation])
def test_more_than_a_tenth_of_a_split_is_too_many(make):
    assert sum(len(batch["index"]) for batch in make({1, 5, 8, 30})) in (36, 40)
    with pytest.raises(
        BadSample, match="5 of the 40 samples of the (train|val) data cannot be read, more than a tenth"
    ):
        list(make({1, 5, 8, 30, 31}))


def test_a_disk_that_is_gone_ends_it_and_so_does_a_share_of_nothing_readable(monkeypatch):
    with pytest.raises(BadSample, match=r"truncated \(10 samples in a row cannot be read\)"):
        list(training(range(40)))
    monkeypatch.setattr("ignition.data.skipped_samples.LIMIT", 1.0)
    with pytest.raises(BadSample, match="none of the samples of the val data can be read"):
        list(evaluation(range(40)))


@pytest.mark.parametrize("make", [training, evaluation])
def test_a_mistake_in_the_code_is_no_bad_sample(make, monkeypatch):
    def mistake(self, index):
        raise KeyError("disparity")

    monkeypatch.setattr(Noise, "__getitem__", mistake)
    with pytest.raises(BadSample, match="disparity"):
        list(make(()))


def test_samples_that_do_not_fit_together_are_the_fault_of_none():
    skipped = SkippedSamples("train", 2, replace=True)
    data = Loader([torch.zeros(2), torch.zeros(3)], BatchSampler(2, 2), split="train", skipped=skipped)
    with pytest.raises(BadSample, match="samples of the train data do not fit into one batch"):
        list(data)


def test_what_another_process_found_counts_and_is_not_named_again(monkeypatch, caplog):
    skipped = SkippedSamples("train", 30, replace=True)
    monkeypatch.setattr("ignition.distributed.gather", lambda known: [known, [3, 5]])
    assert skipped.share() == 2
    skipped.note([Failure("sample 5", "", index=5)])
    assert not caplog.records and skipped.known == {3, 5}
    monkeypatch.setattr("ignition.distributed.gather", lambda known: [known, [8, 9]])
    assert skipped.state_dict() == {"known": [3, 5, 8, 9]}  # a run that ends for it is saved first
    with pytest.raises(BadSample, match="4 of the 30 samples"):
        skipped.judge()
