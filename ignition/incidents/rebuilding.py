"""Builds the training of a run anew, as it stood before an incident, with nothing that looks, evaluates or saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ignition import checkpoint_file
from ignition.assembly import AssemblyError, choose_device, outlier_steps_of
from ignition.config import Config, load_config
from ignition.lifecycle import stand_at
from ignition.recipe import load_recipe
from ignition.rundir import Bundle, RunFolder
from ignition.training import Training

NEVER = 10**9


def rebuild(run: RunFolder, bundle: Bundle, scratch: Path, overrides: Sequence[str], notes: list[str]) -> Training:
    """The training of the run as it stood before the incident, in the folder ``scratch``; see `Replay` for the errors.

    Args:
        notes: gets what may make the numbers others than they were.
    """
    incident = bundle.read_incident()
    recipe_class = load_recipe(run.recipe_to_run())
    source = bundle.config if bundle.config.is_file() else run.config_path
    config = load_config(source, overrides=list(overrides), recipe_settings=recipe_class.Settings)
    if "ignition.drill" in str(run.read_environment().get("command")):
        notes.append("made by ignition.drill: a fault in its batches or losses is not part of the recipe")
    recipe = recipe_class(config.recipe, config.data)  # type: ignore[call-arg]
    training = Training(recipe, _as_it_was(config, incident["made_on"], notes), RunFolder.create_at(scratch / "run"))
    outliers = outlier_steps_of(config)  # they leave out steps
    if outliers is not None:
        outliers.attach(training.trainer, training.optimizer)
    _check_length(training, incident)
    if bundle.state.is_file():
        payload = checkpoint_file.moved(checkpoint_file.load(bundle.state), training.device)
        objects, optional_ones = training.checkpoint.objects, training.checkpoint.optional
        checkpoint_file.give_states(bundle.state, payload, objects, optional_ones)
        if outliers is not None and "outlier_steps" in payload:
            outliers.load_state_dict(payload["outlier_steps"])
        stand_at(training, payload["iteration"])
    else:
        training.begin()
        stand_at(training, 0)
    training.data.sampler.load_state_dict(incident["sampler"])  # what was left out since, as well
    return training


def _as_it_was(config: Config, made_on: Mapping[str, Any], notes: list[str]) -> Config:
    """The settings with nothing that acts, and on the machine at hand."""
    trainer = config.trainer
    changed: dict[str, Any] = {"evaluate_every": NEVER, "max_hours": None, "job_hours": None}
    changed |= {"amp": made_on["amp"]} if trainer.amp == "auto" else {}
    try:
        device = choose_device(trainer.device)
    except AssemblyError:
        changed["device"], device = "auto", choose_device("auto")
    here = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    if here != made_on["device"]:
        notes.append(f"made on {made_on['device']}, replayed on {here}: not bit for bit")
    if torch.__version__ != made_on["torch"]:
        notes.append(f"made with torch {made_on['torch']}, replayed with {torch.__version__}")
    if made_on["world_size"] > 1:
        notes.append(f"made by {made_on['world_size']} processes, replayed in one: the same batches, not bit for bit")
    if trainer.threads is None and made_on["threads"] != torch.get_num_threads():
        changed["threads"] = made_on["threads"]  # sums come out otherwise with another number
    never = {"every_iterations": None, "every_epochs": NEVER, "every_minutes": None}
    policy = "off" if config.stability.policy == "off" else "skip"
    calm = {"watch": False, "on": {}, "policy": policy, "max_skips": NEVER, "bundles": 0}
    return config.quiet().model_copy(
        update={
            "trainer": trainer.model_copy(update=changed),
            "checkpoint": config.checkpoint.model_copy(update=never),
            "stability": config.stability.model_copy(update=calm),
            "early_stop": None,
        }
    )


def _check_length(training: Training, incident: Mapping[str, Any]) -> None:
    """Refuse data of which an epoch has not as many batches as it had.

    Raises:
        AssemblyError: it has not.
    """
    then, here = incident["epoch_length"], len(training.data.loader)
    if then != here:
        raise AssemblyError(
            f"an epoch of this run had {then} batches, and with this data and data.batch_size it has {here}"
        )
