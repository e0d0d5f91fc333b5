"""Every setting that is not a recipe's own: its type, limits, default and meaning, in one place."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ignition.config.clipping import Clip, NoClipping
from ignition.config.learning_rate_schedule import ConstantRate, Mode, Schedule
from ignition.config.section import BelongsTo, Section
from ignition.config.value_schedule import ValueSchedule
from ignition.config.writing import to_yaml
from ignition.stability import NAMES


class Source(Section):
    """Where the samples of one split come from."""

    name: str = Field(default="procedural", min_length=1, description="a data set that the recipe knows")
    root: Annotated[str | None, BelongsTo("name")] = Field(
        default=None, description="its folder, relative to the working directory"
    )

    def folder(self, split: str) -> str:
        """Its folder, for a data set that needs one.

        Raises:
            ValueError: there is none; says the setting to give.
        """
        if self.root is None:
            raise ValueError(f"data set '{self.name}' needs a folder: say data.{split}.root=FOLDER")
        return self.root


class Data(Section):
    """Data sets and batches."""

    batch_size: int = Field(default=8, ge=1, description="samples of a training batch, over all processes")
    eval_batch_size: int | None = Field(
        default=None, ge=1, description="samples of an evaluation batch of one process; null: as in training"
    )
    workers: int = Field(default=0, ge=0, description="loader processes for each process that trains; 0: none")
    timeout_seconds: float = Field(
        default=300.0, ge=0, description="how long a loader process may take over a batch; 0: for ever"
    )
    skip_bad: bool = Field(
        default=False,
        description="go on without samples that cannot be read, up to a tenth of a split; they are named and counted",
    )
    train: Source = Field(default_factory=Source, description="what is trained on")
    val: Source = Field(default_factory=Source, description="what is evaluated during training")
    test: Source | None = Field(default=None, description="what is evaluated at the end")

    @property
    def divided(self) -> bool:
        """Whether one folder is given for training and validation, so that what is in it is divided between them."""
        return self.train.root is not None and self.train == self.val


class ParameterGroup(Section):
    """Parameters with a learning rate or weight decay of their own; the first pattern found in a name wins."""

    pattern: str = Field(min_length=1, description="regular expression, sought anywhere in the parameter's name")
    lr: float | None = Field(default=None, gt=0, description="their learning rate; null: `optimizer.lr`")
    weight_decay: float | None = Field(default=None, ge=0, description="their decay; null: `optimizer.weight_decay`")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"'{pattern}' is not a regular expression: {error}") from error
        return pattern


class Optimizer(Section):
    """The optimizer."""

    name: str = Field(default="AdamW", min_length=1, description="a class of `torch.optim`")
    lr: float = Field(default=1e-3, gt=0, description="learning rate; the highest one of a schedule")
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay")
    options: Annotated[dict[str, Any], BelongsTo("name")] = Field(
        default_factory=dict, description="further arguments of the class, such as `betas` or `momentum`"
    )
    decay_norms: bool = Field(default=False, description="decay biases and normalisation layers as well")
    groups: list[ParameterGroup] = Field(default_factory=list, description="parameters that are treated differently")


class Trainer(Section):
    """The training loop."""

    epochs: int = Field(default=10, ge=1, description="passes over the training data")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="every random choice of the run follows from it")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients are added up for one optimizer step")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="samples that go through the model at once, on each process, the step staying that of the whole "
        "batch; null: all, until they do not fit into memory",
    )
    on_out_of_memory: Literal["split", "raise"] = Field(
        default="split",
        description="what a batch leads to that does not fit into memory: it is done again with half as many samples "
        "at once, and so are all after it; or the run fails",
    )
    amp: Literal["off", "auto", "bf16", "fp16"] = Field(
        default="off", description="mixed precision; `auto`: bf16 on a GPU that has it in hardware, else off"
    )
    compile: bool = Field(default=False, description="`torch.compile` the model")
    parallel: Literal["ddp", "fsdp2"] = Field(
        default="ddp",
        description="over many processes: each has the whole model, or a share of weights, gradients and moments",
    )
    channels_last: bool = Field(default=False, description="memory layout of images; faster on most GPUs")
    device: str = Field(default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`, ...")
    evaluate_every: int = Field(
        default=1, ge=1, description="epochs from one evaluation to the next; the last one always has one"
    )
    evaluate_first: bool = Field(default=False, description="evaluate before the first step")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of torch; null: torch decides")
    wait_minutes: float = Field(
        default=10.0,
        gt=0,
        le=10_000,
        description="that processes wait for one of them; then the run ends, and says which it is and where it is",
    )
    job_hours: float | None = Field(
        default=None, gt=0, description="hours after which this process ends in good order, to be resumed by the next"
    )
    max_hours: float | None = Field(
        default=None,
        gt=0,
        description="hours after which the run ends, resumes counted in; more: go on with `--resume`",
    )

    @field_validator("device")
    @classmethod
    def _is_device(cls, device: str) -> str:
        if not re.fullmatch(r"[a-z]+(:[0-9]+)?", device):
            raise ValueError(f"expected 'auto' or a device such as 'cpu', 'cuda' or 'cuda:1', found '{device}'")
        return device


class EarlyStop(Section):
    """Stop once a metric has not improved for a while."""

    metric: str = Field(default="val/loss", min_length=1, description="the metric to watch")
    mode: Mode = Field(default="min", description="whether lower or higher is better")
    patience: int = Field(default=10, ge=1, description="how long an improvement is waited for")
    unit: Literal["evaluations", "epochs", "iterations"] = Field(
        default="evaluations", description="what `patience` and `start` count"
    )
    min_delta: float = Field(default=0.0, ge=0, description="how much better counts as better")
    relative: bool = Field(default=False, description="`min_delta` is a share of the best value")
    cumulative: bool = Field(default=False, description="improvements smaller than `min_delta` add up")
    start: int = Field(default=0, ge=0, description="up to here nothing is looked at")
    target: float | None = Field(default=None, description="a value as good as this ends the run; null: none")
    diverged: float | None = Field(default=None, description="a value as bad as this ends it as diverged; null: none")
    restore_best: bool = Field(
        default=False, description="at the end the model gets its best weights back, before the last evaluations"
    )


class Ema(Section):
    """An average of the weights over the steps, evaluated beside them under `ema/`."""

    decay: float = Field(default=0.999, gt=0, lt=1, description="how much of the average stays at each step")
    warmup: bool = Field(default=True, description="a smaller decay in the first steps: min(decay, (1 + t) / (10 + t))")


class Checkpoints(Section):
    """What is saved, and when."""

    every_iterations: int | None = Field(
        default=None, ge=1, description="batches from one save to the next; null: never within an epoch"
    )
    every_epochs: int = Field(
        default=1, ge=1, description="epochs from one save to the next; the last one always has one"
    )
    every_minutes: float | None = Field(
        default=None, gt=0, description="minutes from one save to the next, besides the others; null: not by the clock"
    )
    keep: int = Field(
        default=2, ge=2, description="how many of the newest are kept; the very newest may be in the writing"
    )
    keep_best: int = Field(default=1, ge=1, description="how many of the best are kept besides")
    metric: str = Field(default="val/loss", min_length=1, description="the metric that chooses the best one")
    mode: Mode = Field(default="min", description="whether lower or higher is better")
    snapshots: bool | None = Field(
        default=None,
        description="save the snapshots that a rollback goes back to as well, so that one after a resume goes where it "
        "would have gone without: a checkpoint is then four times the size; null: where that adds up to 64 MiB",
    )
    asynchronous: bool = Field(default=False, description="copy to host memory, and write while the run goes on")
    safetensors: bool = Field(default=False, description="the weights also as `best.safetensors`, `last.safetensors`")
    max_failures: int = Field(
        default=3,
        ge=1,
        description="iterations in a row whose save fails that end the run, on a full disk for instance",
    )


Action = Literal["tell", "blame", "skip", "tighten_clip", "cut_rate", "leave_out", "rollback", "stop"]

# What is done about findings unless the config says otherwise: nothing, as long as a run may get over it by itself.
ON: dict[str, Action] = {"non_finite": "blame", "divergence": "rollback", "exploding_term": "leave_out"}
# Findings that an action can be about, where it cannot be about all.
ABLE: dict[str, tuple[str, ...]] = {
    "blame": ("non_finite", "loss_spike", "gradient_explosion"),
    "skip": ("loss_spike", "gradient_explosion"),
    "leave_out": ("exploding_term", "non_finite"),
}


class Stability(Section):
    """What is looked for in a run that goes wrong, and what it leads to."""

    policy: Literal["skip", "stop", "off"] = Field(
        default="skip",
        description="what a step with a loss or gradient that is not finite leads to: it is left out, or the run "
        "stops; `off` does not look, and spares a GPU the wait for the answer",
    )
    max_skips: int = Field(default=10, ge=0, description="steps left out in a row before the run counts as diverged")
    watch: bool = Field(
        default=True, description="look for trouble in losses and gradients, and tell it in `incidents.jsonl`"
    )
    measure_every: int = Field(
        default=50,
        ge=0,
        description="steps between two at which weights, gradients and their changes are measured, for what is looked "
        "for and for `measurements.jsonl`; 0: never, nor which units fire in an evaluation",
    )
    on: dict[str, Action] = Field(
        default_factory=lambda: dict(ON),
        description="what findings lead to, by their names, besides being told; see docs/doctor.md. It adds to the "
        "default, in which `tell` takes an action away",
    )
    rules: Literal["relative", "absolute"] = Field(
        default="relative",
        description="what losses over epochs are judged by: what the run itself has gained, or limits in units of the "
        "loss, which were made for losses between 0.3 and 0.5",
    )
    snapshot_every: int | None = Field(
        default=None,
        ge=1,
        description="steps between the three snapshots in host memory that a rollback goes back to; null: 25, or "
        "`logging.every` where that is more",
    )
    cut: float = Field(
        default=0.5, gt=0, le=1, description="what a cut multiplies the learning rate or the limit of clipping by"
    )
    attempts: int = Field(default=3, ge=1, description="rollbacks after which the run counts as diverged")
    bundles: int = Field(
        default=10,
        ge=0,
        description="incidents of a run that leave a bundle, for `ignition.replay`; each may hold a checkpoint",
    )

    @field_validator("on")
    @classmethod
    def _are_findings(cls, on: dict[str, str]) -> dict[str, str]:
        for name in on:
            if name not in NAMES:
                near = difflib.get_close_matches(name, NAMES, 1)
                hint = f". Did you mean '{near[0]}'?" if near else ""
                raise ValueError(f"nothing is found by the name of '{name}'{hint}")
        for name, action in on.items():
            able = ABLE.get(action)
            if able is not None and name not in able:
                raise ValueError(f"'{action}' can be done about {' and '.join(able)}, not about {name}")
        return {**ON, **on}


class WandB(Section):
    """Numbers and pictures go to Weights & Biases as well; needs `ignition-engine[wandb]`."""

    project: str = Field(min_length=1, description="its project")
    name: str | None = Field(default=None, min_length=1, description="the run's name there; null: the run folder's")
    mode: Literal["online", "offline"] | None = Field(
        default=None, description="`offline` writes files to be sent later; null: as WANDB_MODE says, else online"
    )


class MLflow(Section):
    """Numbers go to MLflow as well; needs `ignition-engine[mlflow]`."""

    uri: str | None = Field(
        default=None,
        min_length=1,
        description="tracking server; null: as MLFLOW_TRACKING_URI says, else the run folder",
    )
    experiment: str = Field(min_length=1, description="its experiment")


class Logging(Section):
    """What is written while a run goes on."""

    every: int = Field(default=50, ge=1, description="batches from one row to the next")
    tensorboard: bool = Field(default=True, description="write TensorBoard files as well")
    progress: bool = Field(default=True, description="show a progress line in the terminal")
    pictures: int = Field(default=4, ge=0, description="pictures drawn at each evaluation")
    shadow_clipping: list[Literal["norm", "agc", "autoclip", "zclip"]] = Field(
        default_factory=list, description="kinds of `clip`, at their defaults, of which only is told what they would do"
    )
    wandb: WandB | None = Field(default=None, description="Weights & Biases besides; null: not")
    mlflow: MLflow | None = Field(default=None, description="MLflow besides; null: not")


class Review(Section):
    """What is said of the settings before a run begins; `python -m ignition.review` says it without a run."""

    tell: bool = Field(default=True, description="tell it in the terminal as well, and not in `review.json` alone")
    accept: list[str] = Field(
        default_factory=list, description="objections that are known and meant, by name; see docs/review.md"
    )


SNAPSHOTS = 3  # in memory, for a rollback


def _is_recipe(value: Any) -> Any:
    if not isinstance(value, (dict, Section)):
        raise ValueError("expected a section (lines of 'key: value')")
    return value


class Config(Section):
    """All settings of a run."""

    task: str | None = Field(
        default=None, description="the recipe's name, such as `depth`; another recipe refuses this config"
    )
    hypothesis: str = Field(default="", description="what this experiment tests, in words")
    recipe: Annotated[Any, BeforeValidator(_is_recipe)] = Field(
        default_factory=dict, description="the recipe's own settings; see its class `Settings`"
    )
    data: Data = Field(default_factory=Data)
    loss: dict[str, ValueSchedule] = Field(
        default_factory=dict,
        description="each loss term's weight, a number or a schedule over epochs; empty: every term counts 1",
    )
    optimizer: Optimizer = Field(default_factory=Optimizer)
    schedule: Schedule = Field(default_factory=ConstantRate, description="the learning rate over the run, by `name`")
    clip: Clip = Field(default_factory=NoClipping, description="limits of the gradients, by `kind`")
    trainer: Trainer = Field(default_factory=Trainer)
    early_stop: EarlyStop | None = Field(default=None)
    ema: Ema | None = Field(default=None)
    checkpoint: Checkpoints = Field(default_factory=Checkpoints)
    stability: Stability = Field(default_factory=Stability)
    logging: Logging = Field(default_factory=Logging)
    review: Review = Field(default_factory=Review)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, value: Any) -> Any:
        """A section that is null, or left empty in YAML, takes its defaults: `early_stop` is off, and so on."""
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if item is not None or key not in cls.model_fields}

    def quiet(self) -> Config:
        """The same, with nothing shown or measured, and nothing told to services: for trials that are no runs."""
        silent = {"progress": False, "tensorboard": False, "wandb": None, "mlflow": None}
        unmeasured = self.stability.model_copy(update={"measure_every": 0})
        return self.model_copy(update={"logging": self.logging.model_copy(update=silent), "stability": unmeasured})

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, as a YAML file would hold them."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """All settings, defaults included, as YAML that `load_config` reads back equal."""
        return to_yaml(self.to_dict())
