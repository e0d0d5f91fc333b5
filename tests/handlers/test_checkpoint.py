import errno
import logging
import math
import os
import shutil

import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignition.checkpoint_file import BadCheckpoint, load, save
from ignition.handlers.checkpoint import Checkpoint, SavingFailed
from ignition.handlers.early_stopping import EarlyStopping

NAN, INF = math.nan, math.inf


def numbers(folder, pattern="iteration-*.pt"):
    return [int(path.name[10:18]) for path in sorted(folder.glob(pattern))]


class Run:
    """A model whose weight is the iteration, trained by a two-line engine; a script has its score after each epoch."""

    def __init__(self, folder, scores=(), *, epoch_length=1, **settings):
        self.model = nn.Linear(1, 1, bias=False)
        self.trainer, self.evaluator = Engine(self.step), Engine(lambda engine, batch: None)
        self.scores, self.epoch_length = list(scores), epoch_length
        self.evaluator.add_event_handler(Events.COMPLETED, self.score)
        self.checkpoint = Checkpoint(folder, {"model": self.model, **settings.pop("objects", {})}, **settings)

    def step(self, engine, batch):
        with torch.no_grad():
            self.model.weight.fill_(engine.state.iteration)

    def score(self, evaluator):
        evaluator.state.metrics["loss"] = self.scores[self.trainer.state.epoch - 1]

    def evaluated(self):
        """Evaluate after each epoch and keep the best, then save."""
        self.checkpoint.attach_best(self.evaluator, self.trainer)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self.evaluator.run([0]))
        return self.saved()

    def saved(self, event=Events.EPOCH_COMPLETED):
        self.checkpoint.attach(self.trainer, event)
        return self

    def train(self, epochs=None):
        self.trainer.run([0] * self.epoch_length, max_epochs=epochs or len(self.scores))
        return self

    def resume(self, epochs):
        payload = self.checkpoint.restore()
        self.trainer.state.iteration = payload["iteration"]
        self.trainer.state.epoch = payload["iteration"] // self.epoch_length
        self.trainer.state.epoch_length, self.trainer.state.max_epochs = self.epoch_length, epochs
        return self.train(epochs)


def weight(path):
    return load(path)["model"]["weight"].item()


# -------------------------------------------------------------------------------------------------- when it is saved


def test_the_newest_are_kept_and_last_names_the_newest(tmp_path):
    run = Run(tmp_path / "made" / "here").saved().train(5)
    assert numbers(run.checkpoint.folder) == [4, 5]
    assert sorted(os.listdir(run.checkpoint.folder)) == ["iteration-00000004.pt", "iteration-00000005.pt", "last.pt"]
    assert os.path.samefile(run.checkpoint.last_path, run.checkpoint.folder / "last.pt")
    content = load(run.checkpoint.folder / "last.pt")
    assert {name: content[name] for name in ("version", "iteration", "epoch", "epoch_length", "score")} == {
        "version": 1, "iteration": 5, "epoch": 5, "epoch_length": 1, "score": None,
    }  # fmt: skip
    assert content["model"]["weight"].item() == 5


def test_any_event_will_do_and_an_iteration_is_written_once(tmp_path, monkeypatch):
    written, run = [], Run(tmp_path, epoch_length=4, keep=100)
    run.saved(Events.ITERATION_COMPLETED(every=3)).saved(Events.EPOCH_COMPLETED(every=1)).saved(Events.COMPLETED)
    monkeypatch.setattr(
        "ignition.checkpoint_file.keeping.save", lambda path, content: written.append(path) or save(path, content)
    )
    run.train(3)
    assert [load(path)["iteration"] for path in written] == [3, 4, 6, 8, 9, 12] == numbers(tmp_path)


def test_an_iteration_that_was_evaluated_since_is_written_again_with_what_came_of_it(tmp_path):
    run = Run(tmp_path, [0.5, 0.6], metric="loss")
    run.saved(Events.ITERATION_COMPLETED).evaluated().train()
    assert [load(path)["score"] for path in sorted(tmp_path.glob("iteration-*.pt"))] == [0.5, 0.6]


def test_it_can_be_saved_by_hand_and_by_the_clock(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("ignition.handlers.checkpoint.time.monotonic", lambda: clock[0])
    run = Run(tmp_path, epoch_length=100, every_minutes=0.5, keep=100)
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: clock.__setitem__(0, clock[0] + 10.0))
    run.saved().train(1)
    assert numbers(tmp_path) == list(range(4, 101, 4))  # an iteration takes 10 s, so 30 s are over at every fourth
    assert run.checkpoint.save(run.trainer) is True


class Grouped(Run):
    """Steps at every third batch, and at the last one of an epoch."""

    def step(self, engine, batch):
        position = (engine.state.iteration - 1) % self.epoch_length + 1
        engine.state.group_open = position % 3 != 0 and position != self.epoch_length
        if not engine.state.group_open:
            super().step(engine, batch)


def test_an_open_group_is_waited_for(tmp_path):
    run = Grouped(tmp_path, epoch_length=8, keep=100)
    run.saved(Events.ITERATION_COMPLETED(every=4)).train(2)
    # 4 waits for 6, 8 is an end; 12 is within the group that ends at 14
    assert numbers(tmp_path) == [6, 8, 14, 16]
    assert all(weight(path) == load(path)["iteration"] for path in tmp_path.glob("*.pt"))


def test_a_save_that_waits_at_an_epochs_last_batch_comes_after_what_is_done_at_its_end(tmp_path):
    run = Grouped(tmp_path, [0.5, 0.7], epoch_length=8, keep=100, metric="loss")
    run.checkpoint.attach(run.trainer, Events.ITERATION_COMPLETED(event_filter=lambda engine, it: it % 8 == 7))
    run.evaluated().train()
    assert [load(path)["score"] for path in sorted(tmp_path.glob("iteration-*.pt"))] == [0.5, 0.7]


def test_a_save_that_still_waits_at_the_end_of_the_run_is_done_then(tmp_path):
    run = Grouped(tmp_path, epoch_length=8)
    run.saved(Events.ITERATION_COMPLETED(event_filter=lambda engine, iteration: iteration == 7)).train(1)
    assert numbers(tmp_path) == [8]


def test_the_best_of_an_open_group_has_the_weights_that_were_measured(tmp_path):
    run = Grouped(tmp_path, [0.5], epoch_length=8, metric="loss")
    run.checkpoint.attach_best(run.evaluator, run.trainer)
    run.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=5), lambda engine: run.evaluator.run([0]))
    run.train()
    assert (weight(tmp_path / "best.pt"), load(tmp_path / "best.pt")["iteration"]) == (3.0, 5)
    assert numbers(tmp_path) == []  # nothing to go on from in the middle of a group


# ---------------------------------------------------------------------------------------------------------- the best


@pytest.mark.parametrize(("mode", "scores", "best"), [
    ("min", [0.5, 0.4, 0.6], 2),
    ("max", [0.5, 0.4, 0.6], 3),
    ("max", [-2.0, -1.0, -3.0], 2),
    ("min", [NAN, 0.7, 0.6, NAN, 0.5], 5),  # V7
    ("max", [INF, 0.5, 0.6, 0.7], 4),  # V7
    ("min", [torch.tensor(0.5), torch.tensor(0.4)], 2),  # V9
    ("min", [0.5, 0.5, 0.5], 1),
    ("min", [NAN, NAN], None),
])  # fmt: skip
def test_best_is_the_best(tmp_path, mode, scores, best):
    run = Run(tmp_path, scores, metric="loss", mode=mode).evaluated().train()
    assert (tmp_path / "best.pt").exists() == (best is not None)
    if best is not None:
        assert weight(tmp_path / "best.pt") == best
        assert load(tmp_path / "best.pt")["score"] == run.checkpoint.best == float(scores[best - 1])
    assert weight(tmp_path / "last.pt") == len(scores) == load(run.checkpoint.last_path)["iteration"]  # V8


def test_the_best_survives_though_its_name_with_the_number_goes(tmp_path):
    Run(tmp_path, [0.1, 0.5, 0.6, 0.7], metric="loss").evaluated().train()
    assert numbers(tmp_path) == [3, 4] and weight(tmp_path / "best.pt") == 1


def test_a_metric_is_found_by_its_tagged_name_and_a_missing_one_is_told(tmp_path):
    Run(tmp_path / "a", [0.5], metric="val/loss").evaluated().train()
    with pytest.raises(KeyError, match="no metric 'epe' on this engine"):
        Run(tmp_path / "b", [0.5], metric="epe").evaluated().train()
    with pytest.raises(ValueError, match="which metric"):
        Run(tmp_path / "c", [0.5]).evaluated()


# -------------------------------------------------------------------------------------------------------- what fails


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill_at(run, monkeypatch, iterations):
    """Let the disk be full in some iterations."""
    fsync = os.fsync

    def disk(engine):
        monkeypatch.setattr(os, "fsync", full if engine.state.iteration in iterations else fsync)

    run.trainer.add_event_handler(Events.ITERATION_STARTED, disk)


def test_a_save_that_fails_is_told_with_what_is_still_good_and_training_goes_on(tmp_path, monkeypatch, caplog):
    run = Run(tmp_path).saved()
    fill_at(run, monkeypatch, [3, 4])
    with caplog.at_level(logging.ERROR):
        run.train(5)
    assert numbers(tmp_path) == [2, 5]
    third, fourth = (record.message for record in caplog.records)
    assert third.startswith(
        f"no checkpoint of iteration 3: {tmp_path}/iteration-00000003.pt was not written: disk full: "
    )
    assert third.endswith("; the newest good one is iteration-00000002.pt. The run goes on, 1 of 3")
    assert fourth.endswith("; the newest good one is iteration-00000002.pt. The run goes on, 2 of 3")
    assert run.checkpoint._saving.failures == 0


def test_three_failures_in_a_row_end_the_run(tmp_path, monkeypatch):
    run = Run(tmp_path, max_failures=3).saved()
    fill_at(run, monkeypatch, [3, 4, 5])
    with pytest.raises(SavingFailed, match=r"no checkpoint of iteration 5: .*disk full.* 3 saves in a row failed"):
        run.train(9)
    monkeypatch.undo()
    assert Run(tmp_path).checkpoint.restore()["iteration"] == 2


def test_a_second_try_in_the_same_iteration_counts_with_the_first(tmp_path, monkeypatch, caplog):
    run = Run(tmp_path, [0.5, 0.4, 0.3], metric="loss", max_failures=2).evaluated()
    fill_at(run, monkeypatch, [2])
    run.train()
    assert [record.message[-7:] for record in caplog.records] == [" 1 of 2"] * 2
    assert numbers(tmp_path) == [1, 3]


def test_a_best_that_could_not_be_written_is_not_held_for_the_best(tmp_path, monkeypatch):
    run = Run(tmp_path, [0.5, 0.1, 0.3, 0.2], metric="loss").evaluated()
    fill_at(run, monkeypatch, [2])
    run.train()
    assert weight(tmp_path / "best.pt") == 4 and run.checkpoint.best == 0.2  # 0.1 is nowhere on the disk


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    run = Run(tmp_path / "run").saved()
    run.trainer.add_event_handler(Events.ITERATION_STARTED(once=3), lambda engine: shutil.rmtree(tmp_path / "run"))
    run.train(4)
    assert numbers(tmp_path / "run") == [3, 4]


def test_a_model_that_is_not_finite_is_never_saved(tmp_path, caplog):
    run = Run(tmp_path, [0.5, 0.1, 0.4, 0.3, 0.6, 0.7, 0.8], metric="loss")

    @run.trainer.on(Events.ITERATION_COMPLETED)
    def diverge(engine):
        if engine.state.iteration >= 2:
            run.model.weight.data.fill_(NAN)

    with caplog.at_level(logging.ERROR):
        run.evaluated().train()
    assert numbers(tmp_path) == [1] and weight(tmp_path / "best.pt") == 1 and run.checkpoint.best == 0.5
    message = "no checkpoint of iteration 2: it has values that are not finite in model.weight; the newest good one is "
    assert message + "iteration-00000001.pt. The run goes on" in [record.message for record in caplog.records]


def test_a_mask_of_infinity_does_not_make_a_model_broken(tmp_path):
    run = Run(tmp_path)
    run.model.register_buffer("mask", torch.tensor([0.0, -INF]))
    run.checkpoint = Checkpoint(tmp_path, {"model": run.model})
    run.saved().train(1)
    assert load(tmp_path / "last.pt")["model"]["mask"].tolist() == [0.0, -INF]


def test_what_cannot_be_loaded_again_is_refused_with_its_place(tmp_path):
    class Odd:
        def state_dict(self):
            return {"sizes": {1, 2}}

    with pytest.raises(TypeError, match="odd.sizes is a set"):
        Run(tmp_path, objects={"odd": Odd()}).saved().train(1)
    assert os.listdir(tmp_path) == []


def test_wrong_settings_are_told():
    for settings, why in (({"keep": 1}, "keep is 1"), ({"mode": "lowest"}, "mode is 'lowest'")):
        with pytest.raises(ValueError, match=why):
            Checkpoint("x", {}, **settings)
    with pytest.raises(ValueError, match="no object can be called score, mode"):
        Checkpoint("x", {"score": 1, "model": 2, "mode": 3})


# --------------------------------------------------------------------------------------------------------- going on


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path):
    def make(folder):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)

        def step(engine, batch):
            optimizer.zero_grad()
            model(torch.full((3, 2), float(engine.state.iteration)).cumsum(0)).square().mean().backward()
            optimizer.step()
            schedule.step()

        trainer = Engine(step)
        objects = {"model": model, "optimizer": optimizer, "schedule": schedule, "trainer": trainer}
        checkpoint = Checkpoint(folder, objects)
        checkpoint.attach(trainer, Events.EPOCH_COMPLETED)
        return trainer, checkpoint, model

    straight, _, expected = make(tmp_path / "straight")
    straight.run([0] * 5, max_epochs=4)
    make(tmp_path / "resumed")[0].run([0] * 5, max_epochs=2)
    trainer, checkpoint, model = make(tmp_path / "resumed")
    assert checkpoint.restore()["iteration"] == 10
    trainer.run([0] * 5, max_epochs=4)
    assert trainer.state.iteration == 20
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())


def test_where_there_is_none_nothing_is_restored(tmp_path):
    run = Run(tmp_path / "none")
    assert run.checkpoint.restore() is None and run.checkpoint.best is None
    assert run.saved().train(1).checkpoint.last_path.name == "iteration-00000001.pt"


def test_patience_goes_on_where_it_was(tmp_path):
    def make(scores):
        stopper = EarlyStopping("loss", "min", patience=3)
        run = Run(tmp_path, scores, metric="loss", objects={"stopper": stopper})
        stopper.attach(run.evaluator, run.trainer)
        return run.evaluated()

    make([0.5, 0.6]).train()
    run = make([0.5, 0.6, 0.7, 0.8, 0.9]).resume(5)
    assert run.trainer.state.epoch == 4


def test_a_worse_model_never_takes_the_place_of_a_better_best(tmp_path):  # V10
    Run(tmp_path, [0.9], metric="loss", mode="max").evaluated().train()
    run = Run(tmp_path, [0.9, 0.1, 0.95], metric="loss", mode="max").evaluated()
    assert run.checkpoint.restore()["score"] == 0.9 and run.checkpoint.best == 0.9
    run = Run(tmp_path, [0.9, 0.1], metric="loss", mode="max").evaluated().resume(2)
    assert weight(tmp_path / "best.pt") == 1 and run.checkpoint.best == 0.9
    run = Run(tmp_path, [0.9, 0.1, 0.95], metric="loss", mode="max").evaluated().resume(3)
    assert weight(tmp_path / "best.pt") == 3 and run.checkpoint.best == 0.95


@pytest.mark.parametrize("kill_before", ["last.pt", "best.pt"])
def test_a_kill_between_the_names_is_made_good(tmp_path, kill_before, monkeypatch):
    Run(tmp_path, [0.5], metric="loss").evaluated().train()
    kept = {name: tmp_path / f"{name}.kept" for name in ("last.pt", "best.pt")}
    for name, path in kept.items():
        os.link(tmp_path / name, path)
    Run(tmp_path, [0.5, 0.4], metric="loss").evaluated().resume(2)
    for name in ("last.pt", "best.pt") if kill_before == "last.pt" else ("best.pt",):
        os.replace(kept[name], tmp_path / name)
    checkpoint = Run(tmp_path, metric="loss").checkpoint
    assert checkpoint.restore()["iteration"] == 2
    assert checkpoint.best == 0.4
    assert weight(tmp_path / "best.pt") == weight(tmp_path / "last.pt") == 2


def damage(path):
    """Damage this name's content; other names of the same file keep theirs."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-25])


def test_a_damaged_newest_is_set_aside_and_last_names_the_one_that_is_used(tmp_path, caplog):
    Run(tmp_path, [0.5, 0.6, 0.7], metric="loss").evaluated().train()
    (tmp_path / "last.pt").unlink()
    damage(tmp_path / "iteration-00000003.pt")
    shutil.copy(tmp_path / "iteration-00000003.pt", tmp_path / "last.pt")
    run = Run(tmp_path, [0.5, 0.6, 0.4], metric="loss").evaluated().resume(3)
    assert "iteration-00000003.pt is cut off" in caplog.text and "going on from iteration-00000002.pt" in caplog.text
    assert numbers(tmp_path) == [2, 3] and (tmp_path / "iteration-00000003.pt.corrupt").exists()
    assert weight(tmp_path / "last.pt") == weight(tmp_path / "best.pt") == 3 and run.checkpoint.best == 0.4


def test_a_damaged_best_gives_its_place_to_the_best_of_those_that_are_left(tmp_path, caplog):
    Run(tmp_path, [0.5, 0.1, 0.3, 0.4], metric="loss").evaluated().train()
    damage(tmp_path / "best.pt")
    checkpoint = Run(tmp_path, metric="loss").checkpoint
    assert checkpoint.restore()["iteration"] == 4
    assert checkpoint.best == 0.3 and weight(tmp_path / "best.pt") == 3
    assert "best.pt is cut off" in caplog.text and (tmp_path / "best.pt.corrupt").exists()


def test_all_damaged_is_an_error_and_no_fresh_start(tmp_path):
    Run(tmp_path).saved().train(2)
    for path in tmp_path.glob("*.pt"):
        damage(path)
    for _ in range(2):
        with pytest.raises(BadCheckpoint, match="none of the checkpoints can be used"):
            Run(tmp_path).checkpoint.restore()


def test_the_best_alone_is_gone_on_from_if_nothing_else_is_there(tmp_path):
    Run(tmp_path, [0.5, 0.6], metric="loss").evaluated().train()
    for path in [*tmp_path.glob("iteration-*.pt"), tmp_path / "last.pt"]:
        path.unlink()
    assert Run(tmp_path, metric="loss").checkpoint.restore()["iteration"] == 1


def test_a_best_of_another_metric_is_told_and_counts_no_more(tmp_path, caplog):
    Run(tmp_path, [0.5], metric="loss").evaluated().train()
    run = Run(tmp_path, [0.5, 0.7], metric="loss", mode="max").evaluated().resume(2)
    assert "best.pt was chosen by loss (min), from here on by loss (max)" in caplog.text
    assert weight(tmp_path / "best.pt") == 2 and run.checkpoint.best == 0.7


def test_a_file_that_does_not_fit_is_told_before_anything_is_loaded(tmp_path):
    Run(tmp_path, objects={"extra": torch.optim.SGD([torch.ones(1)], lr=1.0)}).saved().train(1)
    run = Run(tmp_path, objects={"ema": torch.optim.SGD([torch.ones(1)], lr=1.0)})
    before = run.model.weight.item()
    with pytest.raises(BadCheckpoint) as refusal:
        run.checkpoint.restore()
    path = tmp_path / "iteration-00000001.pt"
    assert (
        str(refusal.value) == f"{path}: has no state of 'ema'; it has a state of 'extra', for which there is no object"
    )
    other = Checkpoint(tmp_path, {"extra": torch.optim.SGD([torch.ones(1)], lr=0.5), "model": nn.Linear(1, 2)})
    with pytest.raises(
        BadCheckpoint, match=r"does not fit 'model': it lacks bias; it does not fit 'model': weight is \[1, 1\]"
    ):
        other.restore()
    assert run.model.weight.item() == before and other.objects["extra"].param_groups[0]["lr"] == 0.5
    assert path.exists()  # it is not the file's fault


def test_a_file_that_does_not_say_where_it_belongs_is_told(tmp_path):
    save(tmp_path / "iteration-00000001.pt", {"version": 1, "model": {"weight": torch.ones(1, 1)}})
    with pytest.raises(BadCheckpoint, match="does not say its iteration"):
        Run(tmp_path).checkpoint.restore()


def test_an_object_that_refuses_its_state_is_named_with_those_that_are_loaded(tmp_path):
    Run(tmp_path, objects={"a": EarlyStopping("loss", "min", patience=1)}).saved().train(1)
    with pytest.raises(BadCheckpoint, match=r"the state of 'a' cannot be loaded: the saved state is of metric 'loss'.*"
                       r"\(model had been loaded already: make new objects before going on\)"):  # fmt: skip
        Run(tmp_path, objects={"a": EarlyStopping("epe", "min", patience=1)}).checkpoint.restore()


def test_a_folder_of_another_run_is_refused_before_the_first_iteration(tmp_path):  # V10
    Run(tmp_path, [0.9], metric="loss").evaluated().train()
    run = Run(tmp_path).saved()
    with pytest.raises(
        FileExistsError, match=r"holds checkpoints of another run \(best.pt, iteration-00000001.pt, last.pt\)"
    ):
        run.train(1)
    assert run.trainer.state.iteration == 0
    with pytest.raises(FileExistsError):
        Run(tmp_path).checkpoint.save(run.trainer)


def test_going_on_for_longer_with_the_same_objects_is_the_same_run(tmp_path):
    run = Run(tmp_path).saved().train(2)
    run.train(4)
    assert numbers(tmp_path) == [3, 4]


def test_litter_of_a_killed_run_is_cleared(tmp_path):
    Run(tmp_path).saved().train(1)
    litter = tmp_path / f".tmp-{os.getpid()}-iteration-00000002.pt.part"
    litter.touch()
    Run(tmp_path).checkpoint.restore()
    assert not litter.exists()


def test_a_folder_that_can_only_be_read_is_restored_from(tmp_path, monkeypatch, caplog):
    Run(tmp_path, [0.5, 0.6], metric="loss").evaluated().train()
    (tmp_path / "last.pt").unlink()

    def refuse(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr("ignition.checkpoint_file.file.open", refuse, raising=False)
    assert Run(tmp_path, metric="loss").checkpoint.restore()["iteration"] == 2
    assert "last.pt does not name iteration-00000002.pt: Read-only file system" in caplog.text


def test_a_compiled_model_is_saved_under_plain_names_and_loads_into_any(tmp_path):  # V13
    model = torch.compile(nn.Linear(1, 1), backend="eager")
    trainer = Engine(lambda engine, batch: None)
    Checkpoint(tmp_path, {"model": model}).attach(trainer)
    trainer.run([0])
    plain, parallel = nn.Linear(1, 1), nn.DataParallel(nn.Linear(1, 1))
    for other in (plain, parallel):
        Checkpoint(tmp_path, {"model": other}).restore()
    assert list(load(tmp_path / "last.pt")["model"]) == ["weight", "bias"]
    assert plain.weight.item() == parallel.module.weight.item() == model.weight.item()


# ----------------------------------------------------------------------------------------- what ignite's own does there


def ignites(folder, scores, *, to_save=None, n_saved=1, fail_at=None, **settings):
    """The same story with ignite's Checkpoint; the handler, after the run."""
    model = nn.Linear(1, 1, bias=False)
    trainer = Engine(lambda engine, batch: model.weight.data.fill_(engine.state.iteration) and None)
    disk = ignite.handlers.DiskSaver(folder, create_dir=True, require_empty=settings.pop("require_empty", True))
    handler = ignite.handlers.Checkpoint(
        to_save or {"model": model}, disk, n_saved=n_saved,
        score_function=(lambda engine: scores[engine.state.epoch - 1]) if scores else None,
        score_name="s" if scores else None, global_step_transform=lambda engine, event: engine.state.epoch, **settings,
    )  # fmt: skip
    trainer.add_event_handler(Events.EPOCH_COMPLETED, handler)
    return handler, trainer


def test_v6_ignites_has_no_file_left_after_a_failed_write(tmp_path, monkeypatch):
    _, trainer = ignites(tmp_path / "ignite", None)
    trainer.run([0], max_epochs=2)
    monkeypatch.setattr("ignite.handlers.checkpoint.os.replace", full)
    with pytest.raises(OSError):
        trainer.run([0], max_epochs=3)
    assert list((tmp_path / "ignite").glob("*.pt")) == []
    monkeypatch.undo()
    run = Run(tmp_path / "ours").saved().train(2)
    monkeypatch.setattr(os, "replace", full)
    run.train(3)
    assert numbers(tmp_path / "ours") == [1, 2] and weight(tmp_path / "ours/last.pt") == 2


def test_v7_ignites_keeps_a_first_nan_for_ever(tmp_path):
    _, trainer = ignites(tmp_path, [NAN, 0.5, 0.6, 0.7])
    trainer.run([0], max_epochs=4)
    assert [path.name for path in tmp_path.iterdir()] == ["model_1_s=nan.pt"]


def test_v8_ignites_last_checkpoint_is_the_best_one(tmp_path):
    handler, trainer = ignites(tmp_path, [0.5, 0.9, 0.7], n_saved=2)
    trainer.run([0], max_epochs=3)
    assert handler.last_checkpoint.name == "model_2_s=0.9000.pt"


def test_v9_ignites_refuses_a_tensor_score(tmp_path):
    with pytest.raises(ValueError, match="should be a number"):
        ignites(tmp_path, [torch.tensor(0.5)])[1].run([0])


def test_v10_ignites_holds_a_worse_model_for_the_best_after_a_restart(tmp_path):
    ignites(tmp_path, [0.9])[1].run([0])
    with pytest.raises(ValueError, match="already present"):
        ignites(tmp_path, [0.1])
    handler, trainer = ignites(tmp_path, [0.1], require_empty=False, filename_prefix="best")
    trainer.run([0])
    assert handler.last_checkpoint.name == "best_model_1_s=0.1000.pt"


def test_v11_ignites_brings_nothing_to_the_disk_and_leaves_litter_after_a_kill(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), fsync(file)))
    _, trainer = ignites(tmp_path / "ignite", None)
    trainer.run([0])
    assert synced == []
    child = os.fork()
    if child == 0:
        os.replace = lambda *arguments: os.kill(os.getpid(), 9)
        trainer.run([0], max_epochs=2)
    os.waitpid(child, 0)
    ignites(tmp_path / "ignite", None, require_empty=False)[1].run([0])
    assert len([path for path in (tmp_path / "ignite").iterdir() if path.name.startswith("tmp")]) == 1
    Run(tmp_path / "ours").saved().train(1)
    assert len(synced) == 3  # the file, its folder, and the folder again for last.pt


def test_v13_ignites_saves_a_compiled_model_under_its_wrappers_names(tmp_path):
    handler, trainer = ignites(tmp_path, None, to_save={"model": torch.compile(nn.Linear(1, 1), backend="eager")})
    trainer.run([0])
    assert list(torch.load(handler.last_checkpoint)) == ["_orig_mod.weight", "_orig_mod.bias"]


# ----------------------------------------------------------------------------------------------------- many processes

TOGETHER = """
import logging, os, sys, torch
from ignite.engine import Engine, Events
from ignition import distributed
from ignition.handlers.checkpoint import Checkpoint, SavingFailed
folder, full = sys.argv[1] if len(sys.argv) > 1 else FOLDER, False
class Collective:
    def state_dict(self): return {"ranks": distributed.gather(distributed.rank())}
    def load_state_dict(self, state): self.ranks = state["ranks"]
def make():
    model = torch.nn.Linear(1, 1, bias=False)
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    own = Collective()
    checkpoint = Checkpoint(folder, {"model": torch.nn.parallel.DistributedDataParallel(model), "own": own},
                            metric="loss", max_failures=2)
    evaluator.add_event_handler(Events.COMPLETED, lambda e: e.state.metrics.update(
        loss=1.0 / trainer.state.epoch if distributed.rank() == 0 else 5.0 * trainer.state.epoch))
    checkpoint.attach_best(evaluator, trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: evaluator.run([0]))
    checkpoint.attach(trainer)
    return model, trainer, checkpoint, own
with distributed.process_group("cpu"):
    model, trainer, checkpoint, own = make()
    if distributed.rank() == 1:
        os.replace = None  # it must not write
    trainer.run([0], max_epochs=3)
    print(checkpoint.best, checkpoint.last_path.name)
    fsync = os.fsync
    def full(*a): raise OSError(28, "No space left on device")
    if distributed.rank() == 0: os.fsync = full
    try:
        trainer.run([0], max_epochs=9)
    except SavingFailed as error:
        print(trainer.state.epoch, "2 saves in a row failed" in str(error))
    os.fsync = fsync
    expected = model.weight.item()
    torch.manual_seed(distributed.rank() + 5)
    model, trainer, checkpoint, own = make()
    print(checkpoint.restore()["iteration"], checkpoint.best, own.ranks, expected == model.weight.item())
"""


def test_process_0_writes_and_all_know_the_same(tmp_path, two_processes):
    folder = tmp_path / "checkpoints"
    outputs = two_processes(TOGETHER.replace("FOLDER", repr(str(folder))))
    expected = [f"{1 / 3} iteration-00000003.pt", "5 True", f"3 {1 / 3} [0, 1] True"]
    assert [output.splitlines() for output in outputs] == [expected, expected]
    assert numbers(folder) == [2, 3] and list(load(folder / "last.pt")["model"]) == ["weight"]


def test_optional_objects_may_come_and_go(tmp_path):
    def handler(count):
        return Counter({"waited": count})

    class Counter(dict):
        def state_dict(self):
            return dict(self)

        def load_state_dict(self, state):
            self.update(state)

    trainer = Engine(lambda engine, batch: None)
    kept = {"model": nn.Linear(1, 1), "old": handler(3)}
    first = Checkpoint(tmp_path, kept, optional=("old", "new"))
    first.attach(trainer)
    trainer.run([1])
    fresh = handler(7)
    second = Checkpoint(tmp_path, {"model": nn.Linear(1, 1), "new": fresh}, optional=("old", "new"))
    assert second.restore() is not None
    assert fresh == {"waited": 7}
    with pytest.raises(BadCheckpoint, match="has no state of 'new'"):
        Checkpoint(tmp_path, {"model": nn.Linear(1, 1), "old": handler(0), "new": fresh}, optional=("old",)).restore()
