import pytest
import torch
from ignite.engine import DeterministicEngine, Engine, Events
from ignite.utils import manual_seed
from torch.utils.data import DataLoader, Dataset

from ignition.data import BatchSampler, Loader
from ignition.randomness import IterationSeed


class Augmented(Dataset):
    """Ten samples: the index, and a random number that stands for an augmentation."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, torch.rand(())


class Ours:
    """A run over ten shuffled batches of one, saved after the third.

    ``seen`` has each batch's sample, ``drawn`` what was drawn for it.
    """

    def __init__(self, *, workers=0, resume_at=0):
        self.seen, self.drawn = [], []
        sampler = BatchSampler(10, 1, seed=7)
        self.loader = Loader(Augmented(), sampler, seed=7, workers=workers)
        self.trainer = Engine(self.step)
        IterationSeed(7).attach(self.trainer)
        self.trainer.add_event_handler(Events.COMPLETED, lambda engine: self.loader.close())
        self.trainer.add_event_handler(
            Events.EPOCH_STARTED, lambda engine: sampler.seek(epoch=engine.state.epoch - 1, batch=resume_at)
        )

    def step(self, engine, batch):
        index, noise = batch
        self.seen.append(index.item())
        self.drawn.append((noise.item(), torch.rand(()).item()))  # the sample's own, and the step's own, as of dropout

    def run(self):
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), self.save)
        self.trainer.run(self.loader, max_epochs=1)
        return self

    def save(self, engine):
        self.saved = engine.state_dict()

    @classmethod
    def resumed(cls, first, **settings):
        """A new run that goes on where ``first`` was saved."""
        run = cls(resume_at=first.saved["iteration"], **settings)
        run.trainer.load_state_dict(first.saved)
        return run.run()


class Ignites(Ours):
    """The same with ignite's DeterministicEngine, as its documentation resumes one."""

    engine = DeterministicEngine

    def __init__(self, *, workers=0, seed=7):
        self.seen, self.drawn = [], []
        self.loader = DataLoader(Augmented(), batch_size=1, shuffle=True, num_workers=workers)
        self.trainer = self.engine(self.step)
        manual_seed(seed)

    @classmethod
    def resumed(cls, first, **settings):
        run = cls(**settings)
        run.trainer.load_state_dict(first.saved)
        return run.run()


class IgnitesPlain(Ignites):
    engine = Engine


class IgnitesUnseeded(Ignites):
    """Resumed in a process whose generators were not given the same seed: the engine's state does not hold it."""

    @classmethod
    def resumed(cls, first, **settings):
        return super().resumed(first, seed=8, **settings)


def same(first, second):
    """At how many places both have the same."""
    return sum(one == other for one, other in zip(first, second, strict=True))


@pytest.mark.in_place_of("V17", Ours, IgnitesPlain, there="assert 7 == 10")
def test_an_interrupted_epoch_has_seen_every_sample_in_the_end(make):
    first = make().run()
    seen = {*first.seen[:3], *make.resumed(first).seen}
    assert len(seen) == 10


@pytest.mark.in_place_of("V18", Ours, Ignites, there="assert 0 == 7")
def test_the_samples_that_were_left_come_in_the_order_of_the_whole_run(make):
    whole = make().run()
    left = same(make.resumed(whole).seen, whole.seen[3:])
    assert left == 7


@pytest.mark.in_place_of("V18", Ours, Ignites, there="assert 0 == 7")
def test_with_workers_as_well_they_come_with_the_random_numbers_of_the_whole_run(make):
    whole = make(workers=2).run()
    resumed = make.resumed(whole, workers=2)
    assert resumed.seen == whole.seen[3:]  # this holds in ignite, too
    left = same(resumed.drawn, whole.drawn[3:])
    assert left == 7


@pytest.mark.in_place_of("V18", Ours, IgnitesUnseeded, there="assert 0 == 7")
def test_the_order_does_not_hang_on_the_seed_of_the_new_process(make):
    whole = make(workers=2).run()
    left = same(make.resumed(whole, workers=2).seen, whole.seen[3:])
    assert left == 7
