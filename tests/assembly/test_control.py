"""From the config's early stopping, plateau and limits to handlers: every setting arrives."""

import torch
from ignite.engine import Engine

from ignition import assembly
from ignition.config import load_config
from ignition.handlers import Constant, LearningRate


def config(*overrides):
    return load_config(None, overrides=overrides)


def test_early_stopping_gets_every_setting():
    settings = {
        "metric": "val/epe", "mode": "max", "patience": 7, "unit": "epochs", "min_delta": 0.5, "relative": True,
        "cumulative": True, "start": 3, "target": 9.0, "diverged": 0.25,
    }  # fmt: skip
    stopper = assembly.early_stop_of(config(f"early_stop={settings}"))
    assert {name: getattr(stopper, name) for name in settings} == settings
    assert assembly.early_stop_of(config()) is None


def test_plateau_gets_every_setting():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    learning_rate = LearningRate(optimizer, Constant())
    settings = {"metric": "val/epe", "mode": "max", "factor": 0.25, "patience": 3, "threshold": 0.5, "cooldown": 2}
    overrides = [f"schedule.{name}={value}" for name, value in {"name": "plateau", "min_lr": 1e-3, **settings}.items()]
    plateau = assembly.plateau_of(config(*overrides), learning_rate)
    assert {name: getattr(plateau, name) for name in settings} == settings
    assert learning_rate.min_lr == [1e-3]
    assert assembly.plateau_of(config(), learning_rate) is None


def test_limits_of_the_run_and_of_the_job_are_two():
    limits = assembly.time_limits_of(config("trainer.max_hours=10", "trainer.job_hours=2"))
    assert {name: (limit.hours, limit.per) for name, limit in limits.items()} == {
        "time_limit": (10, "run"), "job_limit": (2, "job")
    }  # fmt: skip
    assert assembly.time_limits_of(config()) == {}


def test_a_checkpoint_gets_every_setting(tmp_path):
    settings = ["keep=3", "keep_best=2", "metric=val/epe", "mode=max", "every_minutes=5", "safetensors=true"]
    model, trainer = torch.nn.Linear(1, 1), Engine(lambda engine, batch: None)
    checkpoint = assembly.checkpoint_of(config(*(f"checkpoint.{one}" for one in settings)), tmp_path, {"model": model})
    assert (checkpoint.metric, checkpoint.mode, checkpoint.every_minutes) == ("val/epe", "max", 5)
    for iteration, score in enumerate([0.5, 0.4, 0.3, 0.2, 0.1, 0.05], start=1):
        trainer.state.iteration = iteration
        checkpoint.offer(trainer, score)
        checkpoint.save(trainer)
    assert {file.name for file in tmp_path.glob("*.*")} == {
        "best-2.pt", "best.pt", "best.safetensors", "iteration-00000004.pt", "iteration-00000005.pt",
        "iteration-00000006.pt", "last.pt", "last.safetensors",
    }  # fmt: skip
