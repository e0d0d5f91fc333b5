"""Loader processes that die or hang, for real."""

import os
import signal
import time

import pytest
import torch

from ignition.data import BatchSampler, EvaluationSampler, Loader, LostWorker, worker_pool
from tests.data.noise import Noise, seen


class Deadly(Noise):
    """Samples of which one kills its reader by ``number`` as long as there is a file for it."""

    def __init__(self, folder, at, number=signal.SIGKILL, times=1):
        super().__init__(24)
        self.folder, self.at, self.number = folder, at, number
        for count in range(times):
            (folder / f"{count}").touch()

    def __getitem__(self, index):
        if index == self.at and torch.utils.data.get_worker_info() is not None:
            for left in sorted(self.folder.iterdir()):
                left.unlink()
                os.kill(os.getpid(), self.number)
        return super().__getitem__(index)


class Hanging(Noise):
    def __getitem__(self, index):
        if index == 7:
            time.sleep(60)
        return super().__getitem__(index)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    monkeypatch.setattr(worker_pool, "LOOK_EVERY_SECONDS", 0.5)


def training(dataset, **keywords):
    return Loader(dataset, BatchSampler(24, 4, seed=7), seed=7, workers=2, split="train", **keywords)


@pytest.mark.parametrize("at", [3, 19])
def test_a_worker_that_is_killed_costs_no_sample_and_changes_no_number(tmp_path, caplog, at):
    undisturbed = Loader(Noise(24), BatchSampler(24, 4, seed=7), seed=7)
    data = training(Deadly(tmp_path, at))
    assert [seen(data, epoch, batch) for epoch, batch in ((0, 0), (1, 2))] == [
        seen(undisturbed, epoch, batch) for epoch, batch in ((0, 0), (1, 2))
    ]
    (warning,) = caplog.messages
    assert "a loader process of the train data was killed by SIGKILL, usually by the kernel" in warning
    assert f"while it read sample {at}; new ones go on with the same batch" in warning
    assert not list(tmp_path.iterdir())
    data.close()


def test_epochs_follow_each_other_after_a_death_as_they_would_have_done(tmp_path):
    undisturbed, data = Loader(Noise(24), BatchSampler(24, 4, seed=7), seed=7), training(Deadly(tmp_path, 5))
    for _ in range(2):
        assert [batch["noise"].tolist() for batch in data] == [batch["noise"].tolist() for batch in undisturbed]
    assert data.sampler.epoch == 2
    data.close()


def test_an_evaluation_goes_on_as_well(tmp_path):
    data = Loader(Deadly(tmp_path, 13), EvaluationSampler(24, 4), workers=2, split="val")
    assert [index for batch in data for index in batch["index"].tolist()] == list(range(24))
    data.close()


def test_a_second_death_in_one_pass_is_the_end(tmp_path):
    data = training(Deadly(tmp_path, 5, signal.SIGBUS, times=2))
    with pytest.raises(LostWorker) as caught:
        list(data)
    assert str(caught.value) == (
        "a loader process of the train data was killed by SIGBUS, usually since /dev/shm is full (docker gives 64 MiB; "
        "`--shm-size=8g` gives more), while it read sample 5, the second time in one pass over the data: lower "
        "data.workers or data.batch_size; data.workers=0 reads without further processes"
    )


def test_a_death_in_each_of_two_passes_is_none(tmp_path, caplog):
    data = training(Deadly(tmp_path, 5))
    list(data)
    (tmp_path / "again").touch()
    assert len(list(data)) == 6
    assert len(caplog.messages) == 2
    data.close()


def test_a_worker_that_hangs_is_named_and_ended():
    data = training(Hanging(24), timeout_seconds=1.0)
    began = time.monotonic()
    with pytest.raises(LostWorker, match=r"have given no batch for 1 s \(being read: sample 7\): see whether"):
        list(data)
    assert time.monotonic() - began < 30  # nobody waits for the one that sleeps
    assert not torch.multiprocessing.active_children()


def test_a_worker_that_dies_disturbs_nobody_but_who_waits_for_its_batch():
    data = training(Noise(24))
    kept = signal.getsignal(signal.SIGCHLD)
    batches = iter(data)
    next(batches)
    os.kill(data._loader._iterator._workers[1].pid, signal.SIGKILL)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:  # torch's own handler would raise here
        time.sleep(0.01)
    assert signal.getsignal(signal.SIGCHLD) is kept
    assert len([*batches]) == 5
    data.close()


def test_workers_that_are_still_busy_with_a_pass_that_was_broken_off_are_replaced():
    data = training(Hanging(24))
    undisturbed = Loader(Noise(24), BatchSampler(24, 4, seed=7), seed=7)
    data.sampler.seek(epoch=0)
    next(iter(data))
    data._loader.dataset.dataset = Noise(24)  # of new processes
    assert seen(data, 0) == seen(undisturbed, 0)
    data.close()
