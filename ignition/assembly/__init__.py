"""From a recipe and a config to parts: data, model, optimizer, schedule, and what acts on a run."""

from ignition.assembly.control import checkpoint_of, early_stop_of, guard_of, plateau_of, time_limits_of
from ignition.assembly.datasets import TrainingData, build_splits, evaluation_loader, training_data
from ignition.assembly.diagnosis import doctor_of
from ignition.assembly.measurements import Measurements, measurements_of
from ignition.assembly.network import build_model, choose_device, chosen_weights, load_weights
from ignition.assembly.optimization import average_of, clipping_of, loss_weights, optimizer_of
from ignition.assembly.processes import is_shared_out, over_processes, shares
from ignition.assembly.recipe_parts import AssemblyError, ask
from ignition.assembly.remedies import Remedies, outlier_steps_of, recovery_of, stability_of

__all__ = [
    "AssemblyError",
    "Measurements",
    "Remedies",
    "TrainingData",
    "ask",
    "average_of",
    "build_model",
    "build_splits",
    "checkpoint_of",
    "choose_device",
    "chosen_weights",
    "clipping_of",
    "doctor_of",
    "early_stop_of",
    "evaluation_loader",
    "guard_of",
    "is_shared_out",
    "load_weights",
    "loss_weights",
    "measurements_of",
    "optimizer_of",
    "outlier_steps_of",
    "over_processes",
    "plateau_of",
    "recovery_of",
    "shares",
    "stability_of",
    "time_limits_of",
    "training_data",
]
