"""Order as a pure function of seed and epoch, shared out over processes; samples in quarantine replaced."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.data import BatchSampler
from ignition.randomness import mix


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
    parts = [list(share) for share in shares]
    assert all(len(share) == len(alone) for share in shares)
    for number, batch in enumerate(alone):
        lent = [share.is_lent(number) for share in shares]
        own = [key for share, is_lent in zip(parts, lent) if not is_lent for key in share[number]]
        assert sorted(own) == sorted(batch)  # each sample once
        assert lent == [rank >= len(batch) for rank in range(world)]  # in a batch too small for all
        assert all(len(share[number]) == 1 for share, is_lent in zip(parts, lent) if is_lent)
        assert all(set(share[number]) <= set(batch) for share in parts)


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


# ------------------------------------------------------------------------------------------------------- quarantine


def batches(sampler, epoch, batch=0):
    """What one pass from there on gives, as plain indices."""
    sampler.seek(epoch=epoch, batch=batch)
    return [[key.index for key in keys] for keys in sampler]


some_data = {"length": st.integers(2, 60), "batch_size": st.integers(1, 8), "epoch": st.integers(0, 5)}


@given(**some_data, seed=st.integers(0, 99), shuffle=st.booleans())
@settings(max_examples=60, deadline=None)
def test_without_a_quarantine_the_order_is_the_one_it_always_was(length, batch_size, epoch, seed, shuffle):
    sampler = BatchSampler(length, batch_size, seed=seed, shuffle=shuffle)
    sampler.blame(range(length))  # once is not enough
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    order = torch.randperm(length, generator=generator) if shuffle else torch.arange(length)
    assert batches(sampler, epoch) == [part.tolist() for part in order.split(batch_size)]


@given(**some_data, shuffle=st.booleans(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_in_quarantine_is_replaced_in_its_place_and_nothing_else_moves(
    length, batch_size, epoch, shuffle, data
):
    guilty = data.draw(st.sets(st.integers(0, length - 1), max_size=length - 1))
    sampler = BatchSampler(length, batch_size, seed=3, shuffle=shuffle, blames=1)
    before = batches(sampler, epoch)
    sampler.seek(epoch=0)
    assert sampler.blame(guilty) == sorted(guilty)
    after = batches(sampler, epoch)
    assert [len(batch) for batch in after] == [len(batch) for batch in before]
    assert not guilty & {index for batch in after for index in batch}
    pairs = [pair for old, new in zip(before, after) for pair in zip(old, new, strict=True)]
    assert all(old == new for old, new in pairs if old not in guilty)
    assert after == [sampler.indices(epoch, batch) for batch in range(len(sampler))] == batches(sampler, epoch)


@given(length=st.integers(4, 60), batch_size=st.integers(1, 8), data=st.data())
@settings(max_examples=60, deadline=None)
def test_two_processes_replace_alike(length, batch_size, data):
    guilty = data.draw(st.sets(st.integers(0, length - 1), max_size=length - 1))
    world = [BatchSampler(length, 2 * batch_size, seed=3, blames=1, rank=rank, world_size=2) for rank in range(2)]
    for sampler in world:
        sampler.blame(guilty)
    parts = list(zip(*(batches(sampler, epoch=1) for sampler in world), strict=True))
    for number, (first, second) in enumerate(parts):
        together = world[0].indices(1, number)
        assert (first, second) == (together[::2], together[1::2] or together)  # a single one is lent


@given(length=st.integers(4, 40), batch_size=st.integers(1, 8), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_pass_resumed_in_its_middle_is_the_one_that_was_begun_though_more_was_blamed_in_it(length, batch_size, data):
    early, late = (data.draw(st.sets(st.integers(0, length - 1), max_size=length // 2 - 1)) for _ in range(2))
    straight = BatchSampler(length, batch_size, seed=3, blames=1)
    straight.blame(early)
    straight.seek(epoch=2)
    running, first = iter(straight), []
    stop = data.draw(st.integers(1, len(straight)))
    first += [next(running) for _ in range(stop)]
    straight.blame(late)
    saved = json.loads(json.dumps(straight.state_dict()))
    rest = list(running)
    following = list(straight)

    resumed = BatchSampler(length, batch_size, seed=3, blames=1)
    resumed.load_state_dict(saved)
    assert resumed.state_dict() == saved
    resumed.seek(epoch=2, batch=stop)
    if stop < len(straight):
        assert list(resumed) == rest
    else:
        resumed.seek(epoch=3)  # the epoch was done
    assert list(resumed) == following
    assert not (early | late) & {key.index for keys in following for key in keys}


def test_two_blames_put_a_sample_in_quarantine_from_the_next_pass_on():
    sampler = BatchSampler(6, 2, shuffle=False)
    running = iter(sampler)
    assert [key.index for key in next(running)] == [0, 1]
    assert sampler.blame([0, 1, 1]) == []  # the same call, the same blame
    assert sampler.blame(torch.tensor([1, 5])) == [1]
    assert [[key.index for key in keys] for keys in running] == [[2, 3], [4, 5]]
    assert (sampler.blamed, sampler.quarantine) == ({0: 1, 1: 2, 5: 1}, {1: 1})
    assert [sampler.indices(epoch, 0) for epoch in (0, 1)] == [[0, 1], [0, mix(0, 1, 1, 0) % 6]]


def test_a_pass_that_goes_on_in_its_middle_is_left_as_it_was_begun():
    sampler = BatchSampler(6, 2, blames=1)
    sampler.seek(epoch=2)
    sampler.blame([0])
    sampler.seek(epoch=2, batch=1)
    sampler.blame([1])
    assert sampler.quarantine == {0: 2, 1: 3}


def test_a_replacement_that_falls_into_quarantine_is_replaced_itself_and_nothing_else_moves():
    sampler = BatchSampler(8, 4, seed=1, blames=1)
    original = sampler.order(5).tolist()
    sampler.blame([original[3]])
    second = sampler.order(5).tolist()
    sampler.blame([second[3]])
    third = sampler.order(5).tolist()
    places = [place for place in range(8) if place != 3 and original[place] != second[3]]
    assert [third[place] for place in places] == [original[place] for place in places]
    assert third[3] not in (original[3], second[3])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda sampler: sampler.blame([1, 6]), "there is no sample 6: the data has 6, numbered from 0"),
        (lambda sampler: sampler.blame([-1]), "there is no sample -1"),
        (lambda sampler: sampler.load_state_dict({"blamed": [], "quarantine": [[9, 1]]}), "there is no sample 9"),
        (lambda sampler: sampler.indices(0, 3), "batch is 3; an epoch has 3, numbered from 0"),
        (lambda sampler: BatchSampler(6, 2, blames=0), "blames is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(act, message):
    sampler = BatchSampler(6, 2)
    with pytest.raises(ValueError, match=message):
        act(sampler)
    assert (sampler.blamed, sampler.quarantine) == ({}, {})
