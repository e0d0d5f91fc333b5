"""What a user gets: settings, or every mistake at once, each with its place and what to do."""

import pickle
import subprocess
import sys
from typing import Annotated, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, field_validator, model_validator

from ignition.config import Config, ConfigError, Section, load_config
from ignition.config.layout import Layout
from ignition.config.writing import to_yaml

SCHEDULES = (
    "'constant', 'one_cycle', 'cosine', 'warm_restarts', 'polynomial', 'exponential', 'step', 'plateau' or 'sequence'"
)


class Block(Section):
    channels: int = Field(default=8, ge=1)


class Settings(Section):
    """Settings of a recipe with one of everything."""

    max_disparity: int = Field(default=64, ge=16, le=512)
    size: tuple[int, int] = (96, 64)
    kind: Literal["small", "full"] = "small"
    dropout: float = Field(default=0.2, ge=0, lt=1)
    limit: int | Literal["auto"] = "auto"
    block: Block = Field(default_factory=Block)
    blocks: list[Block] = Field(default_factory=list)

    @field_validator("max_disparity")
    @classmethod
    def _divisible(cls, value):
        if value % 16:
            raise ValueError(f"expected a multiple of 16, found {value}")
        return value

    @model_validator(mode="after")
    def _fits(self):
        if self.size[0] < self.max_disparity:
            raise ValueError(f"size {self.size} is narrower than max_disparity {self.max_disparity}")
        return self


def problems(path=None, *overrides, **arguments):
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides=overrides, **arguments)
    lines = str(error.value).split("\n")
    assert len(lines) == len(error.value.problems)
    return [line.replace(f"{path.parent}/", "") for line in lines] if path else lines


def test_the_defaults():
    config = load_config(None)
    assert config == Config()
    assert (config.task, config.hypothesis, config.recipe, config.loss, config.early_stop) == (None, "", {}, {}, None)
    assert (config.schedule.name, config.clip.kind) == ("constant", "none")
    assert (config.data.train.name, config.data.test) == ("procedural", None)


def test_five_mistakes_are_five_lines(tmp_path):
    path = tmp_path / "depth.yaml"
    path.write_text(
        "task: depth\n"
        "lr: 1e-4\n"
        "data: {batch_size: 0}\n"
        "optimizer:\n"
        "  lr: fast\n"
        "schedule: {name: one_cycle, patience: 3}\n"
        "trainer: {epocs: 3}\n"
    )
    assert problems(path, task="depth") == [
        "depth.yaml:2:1: unknown key 'lr'. It belongs under 'optimizer'.",
        "depth.yaml:3:8: data.batch_size: expected a number of at least 1, found 0",
        "depth.yaml:5:3: optimizer.lr: expected a number, found text 'fast'",
        "depth.yaml:6:29: schedule.patience: 'patience' belongs to schedule.name: plateau, and here it is one_cycle",
        "depth.yaml:7:11: unknown key 'trainer.epocs'. Did you mean 'epochs'?",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        # wrong type: what was expected, what was found, and what to write where that is plain
        ("optimizer.lr=fast", "expected a number, found text 'fast'"),
        ("optimizer.lr=true", "expected a number, found true"),
        ("optimizer.lr='1e-3'", "expected a number, found text '1e-3'; write 1e-3, without quotes"),
        ("optimizer.lr=", "expected a number, found nothing (null)"),
        ("optimizer.lr=nan", "expected a number, found text 'nan'"),
        ("optimizer.lr=.nan", "expected a finite number, found nan"),
        ("optimizer.lr=1e999", "expected a finite number, found inf"),
        ("optimizer.options.eps=.inf", None),
        ("trainer.epochs=2.5", "expected a whole number, found 2.5"),
        ("trainer.epochs=1e2", "expected a whole number, found 100.0; write 100"),
        ("trainer.epochs=1_000", "expected a whole number, found text '1_000'; write 1000, without _"),
        ("trainer.epochs=true", "expected a whole number, found true"),
        ("trainer.epochs.x=3", None),
        ("trainer.compile=1", "expected true or false, found 1"),
        ("trainer.compile=yes", "expected true or false, found text 'yes'; write true"),
        ("trainer.compile=off", "expected true or false, found text 'off'; write false"),
        ("hypothesis=3", "expected text, found 3"),
        ("optimizer.groups=3", "expected a list, found 3"),
        ("trainer=3", "expected a section (lines of 'key: value'), found 3"),
        ("recipe=3", "expected a section (lines of 'key: value')"),
        ("loss=3", "expected a section (lines of 'key: value'), found 3"),
        ("loss.l1=high",
         "expected a number or a schedule such as {from: 0, to: 1, epochs: 50}, found text 'high'"),
        ("loss.l1=true", "expected a number or a schedule such as {from: 0, to: 1, epochs: 50}, found true"),
        ("schedule=one_cycle", "expected a section (lines of 'key: value'), found text 'one_cycle'; "
                               "write schedule: {name: one_cycle}"),
        # out of range: the limit
        ("optimizer.lr=0", "expected a number greater than 0, found 0"),
        ("optimizer.weight_decay=-1e-3", "expected a number of at least 0, found -0.001"),
        ("checkpoint.keep=1", "expected a number of at least 2, found 1"),
        ("trainer.seed=-1", "expected a number of at least 0, found -1"),
        ("trainer.threads=0", "expected a number of at least 1, found 0"),
        # words
        ("trainer.amp=bf61", "expected 'off', 'auto', 'bf16' or 'fp16', found text 'bf61'. Did you mean 'bf16'?"),
        ("trainer.amp=false", "expected 'off', 'auto', 'bf16' or 'fp16', found false"),
        ("trainer.device=GPU 1", "expected 'auto' or a device such as 'cpu', 'cuda' or 'cuda:1', found 'GPU 1'"),
        ("schedule.name=onecycle", f"expected {SCHEDULES}, found text 'onecycle'. Did you mean 'one_cycle'?"),
        ("schedule.name=3", f"expected {SCHEDULES}, found 3"),
        ("clip.kind=norms",
         "expected 'none', 'norm', 'value', 'agc', 'autoclip' or 'zclip', found text 'norms'. Did you mean 'norm'?"),
        # unknown keys
        ("optimizer.lrr=1", "unknown key 'optimizer.lrr'. Did you mean 'lr'?"),
        ("optimiser.lr=1", "unknown key 'optimiser'. Did you mean 'optimizer'?"),
        ("trainer.lr=1", "unknown key 'trainer.lr'. It belongs under 'optimizer'."),
        ("lr=1", "unknown key 'lr'. It belongs under 'optimizer'."),
        ("trainer.clip=1", "unknown key 'trainer.clip'. It belongs at the top level."),
        ("root=/x", "unknown key 'root'. It belongs under 'data.train', under 'data.val' or under 'data.test'."),
        ("data.num_workers=1", "unknown key 'data.num_workers'. Did you mean 'workers'?"),
        ("trainer.learning_rate=1", "unknown key 'trainer.learning_rate'. It belongs under 'optimizer' as 'lr'."),
        ("optimizer.nesterov=true", "unknown key 'optimizer.nesterov'. Further arguments of the class go under "
                                    "'optimizer.options'."),
        ("stability.on={los_spike: stop}", "nothing is found by the name of 'los_spike'. Did you mean 'loss_spike'?"),
        ("stability.zzz=1",
         "unknown key 'stability.zzz'. Known here: policy, max_skips, watch, measure_every, on, rules, snapshot_every, "
         "cut, attempts, bundles."),
        ("stability.on={overfitting: skip}",
         "'skip' can be done about loss_spike and gradient_explosion, not about overfitting"),
        ("data.max_disparity=1", "unknown key 'data.max_disparity'. It belongs under 'recipe'."),
        ("recipe.drop_out=1", "unknown key 'recipe.drop_out'. Did you mean 'dropout'?"),
        ("recipe.channels=1", "unknown key 'recipe.channels'. It belongs under 'recipe.block'."),
        ("recipe.block.chanels=1", "unknown key 'recipe.block.chanels'. Did you mean 'channels'?"),
        ("trainr=null", "unknown key 'trainr'. Did you mean 'trainer'?"),
        # kinds
        ("schedule.patience=3", "'patience' belongs to schedule.name: plateau, and here none is given"),
        ("clip.max_norm=3", "'max_norm' belongs to clip.kind: norm, and here none is given"),
        ("clip={kind: value}", "key 'max_value' is missing in section 'clip'"),
        # schedules
        ("schedule.per=epoch", "'per' belongs to schedule.name: cosine, warm_restarts, polynomial, exponential, "
                               "and here none is given"),
        ("schedule={name: cosine, per: epcoh}",
         "schedule.per: expected 'step' or 'epoch', found text 'epcoh'. Did you mean 'epoch'?"),
        ("schedule={name: warm_restarts}", "key 'period_epochs' is missing in section 'schedule'"),
        ("schedule={name: step}", "give one of milestones and every_epochs, for instance milestones: [30, 60]"),
        ("schedule={name: step, milestones: [3], every_epochs: 3}",
         "give one of milestones and every_epochs, for instance milestones: [30, 60]"),
        ("schedule={name: step, milestones: [3, 0]}",
         "schedule.milestones[1]: expected a number greater than 0, found 0"),
        ("schedule={name: sequence, parts: []}", "schedule.parts: expected at least 1 items, found a list of 0"),
        ("schedule={name: sequence, parts: [{schedule: {name: cosin}}]}",
         f"schedule.parts[0].schedule.name: expected {SCHEDULES}, found text 'cosin'. Did you mean 'cosine'?"),
        ("schedule={name: sequence, parts: [{epochs: 3, schedule: {warmup_epoch: 1}}]}",
         "unknown key 'schedule.parts[0].schedule.warmup_epoch'. Did you mean 'warmup_epochs'?"),
        ("schedule={name: sequence, parts: [{epochs: 0}]}",
         "schedule.parts[0].epochs: expected a number greater than 0, found 0"),
        # the forms of a weight
        ("loss.a={from: 0, to: 1}", "key 'epochs' is missing in section 'loss.a'"),
        ("loss.a={from: 0, too: 1, epochs: 1}", "unknown key 'loss.a.too'. Did you mean 'to'?"),
        ("loss.a={from: 0, to: 1, epochs: 0}", "loss.a.epochs: expected a number greater than 0, found 0"),
        ("loss.a={at: {0: 1}, start: 3}", "loss.a.start: 'start' does not go together with 'at'"),
        ("loss.a={at: {3: 1}}", "loss.a.at: add what holds from the start, for instance {0: 1.0, 50: 0.0}"),
        ("loss.a={at: {0: 1, x: 1}}", "loss.a.at: expected epochs of at least 0 as keys, found 'x'"),
        ("loss.a={at: {0: 1, 0.0: 1}}", "loss.a.at: an epoch is given twice in 0, 0.0"),
        ("loss.a={at: {0: x}}", "loss.a.at.0: expected a number, found text 'x'"),
        # a recipe's own
        ("recipe.size=[1]", "expected more items, found a list of 1"),
        ("recipe.size=[1, 2, 3]", "expected at most 2 items, found a list of 3"),
        ("recipe.size=[96, b]", "recipe.size[1]: expected a whole number, found text 'b'"),
        ("recipe.max_disparity=40", "expected a multiple of 16, found 40"),
        ("recipe.max_disparity=128", "recipe: size (96, 64) is narrower than max_disparity 128"),
        ("recipe.limit=atuo", "expected a whole number or 'auto', found text 'atuo'. Did you mean 'auto'?"),
        ("recipe.blocks=[{channels: 0}]", "recipe.blocks[0].channels: expected a number of at least 1, found 0"),
        # lists of sections, patterns
        ("optimizer.groups=[{lr: 1}]", "key 'pattern' is missing in section 'optimizer.groups[0]'"),
        ("optimizer.groups=[{pattern: '('}]", None),
        # overrides themselves
        ("optimizer.lr", "expected key=value, for instance optimizer.lr=5e-5"),
        ("optimizer..lr=1", "'optimizer..lr' is not a key; keys are written like optimizer.lr"),
        ("=1", "'' is not a key; keys are written like optimizer.lr"),
        ("base=x.yaml", "base can be set in a file only"),
        ("recipe.size=[1, 2", "not valid YAML: expected ',' or ']', but got the end"),
        ("recipe.size={a: 1, a: 2}", "duplicate key 'a', first given in line 1, again in 1"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line_that_says_what_to_do(override, message):
    lines = problems(None, override, recipe_settings=Settings)
    if override == "recipe.size={a: 1, a: 2}":
        lines = lines[:1]  # the value is of the wrong type as well
    assert len(lines) == 1
    assert lines[0].startswith(f"command line: {override}: ")
    if message is not None:
        assert lines == [f"command line: {override}: {message}"]
    for word in ("pydantic", "Input", "validation", "_type", "Traceback"):
        assert word not in lines[0]


def test_whole_numbers_are_fine_as_numbers():
    config = load_config(None, overrides=["optimizer.lr=1", "loss.l1=2"])
    assert (config.optimizer.lr, type(config.optimizer.lr)) == (1.0, float)


def test_a_later_override_of_the_same_key_counts():
    assert load_config(None, overrides=["trainer.epochs=3", "trainer.epochs=4"]).trainer.epochs == 4


def test_settings_that_are_wrong_together(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("schedule: {name: cosine, warmup_epochs: 2}\n")
    assert load_config(path).schedule.warmup_epochs == 2.0
    assert problems(path, "trainer.epochs=2") == [
        "a.yaml:1:26: schedule.warmup_epochs: expected less than trainer.epochs (2), found 2"
    ]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("name: cosine, warmup_epochs: 10", "warmup_epochs: expected less than trainer.epochs (10), found 10"),
        ("name: constant, warmup_epochs: 10", None),  # nothing but a warm-up is a schedule too
        ("warmup_epochs: 10.5", "warmup_epochs: expected at most trainer.epochs (10), found 10.5"),
        ("name: step, milestones: [3, 9.5]", None),
        ("name: step, milestones: [3, 10]", "milestones[1]: expected less than trainer.epochs (10), found 10"),
        ("name: step, milestones: [3], warmup_epochs: 3",
         "milestones[0]: expected more than warmup_epochs (3), found 3"),
        ("name: step, every_epochs: 12", "every_epochs: expected less than trainer.epochs (10), found 12"),
        ("name: warm_restarts, period_epochs: 10", None),
        ("name: warm_restarts, period_epochs: 11",
         "period_epochs: expected at most trainer.epochs (10), found 11"),
        ("name: warm_restarts, period_epochs: 9.5, warmup_epochs: 1",
         "period_epochs: expected at most trainer.epochs (10) less warmup_epochs, found 9.5"),
        ("name: sequence, parts: [{epochs: 0.1}, {epochs: 0.2}, {epochs: 9.7}]", None),
        ("name: sequence, parts: [{epochs: 8}, {epochs: 4}]",
         "parts[1].epochs: this part would end at 12 epochs, later than trainer.epochs (10)"),
        ("name: sequence, parts: [{epochs: 10}, {}]",
         "parts[1]: no epochs are left for this part: those before it take all of trainer.epochs (10)"),
        ("name: sequence, parts: [{}, {epochs: 3}]",
         "parts[0].epochs: is missing; only the last part may leave it out"),
        ("name: sequence, parts: [{epochs: 3, schedule: {name: plateau}}]",
         "parts[0].schedule.name: 'plateau' follows a metric over the whole run and cannot be a part"),
        ("name: sequence, parts: [{epochs: 3, schedule: {name: step, milestones: [3]}}]",
         "parts[0].schedule.milestones[0]: expected less than schedule.parts[0].epochs (3), found 3"),
        ("name: sequence, parts: [{epochs: 7}, {schedule: {name: cosine, warmup_epochs: 5}}]",
         "parts[1].schedule.warmup_epochs: expected less than the epochs left (3), found 5"),
        ("name: sequence, parts: [{epochs: 3, schedule: {name: sequence, parts: [{epochs: 2}, {epochs: 2}]}}]",
         "parts[0].schedule.parts[1].epochs: this part would end at 4 epochs, later than schedule.parts[0].epochs (3)"),
    ],
)  # fmt: skip
def test_a_schedule_that_does_not_fit_into_its_epochs(schedule, message):
    override = f"schedule={{{schedule}}}"
    if message is None:
        assert load_config(None, overrides=[override]).trainer.epochs == 10
    else:
        assert problems(None, override) == [f"command line: {override}: schedule.{message}"]


def test_what_does_not_fit_is_told_at_its_own_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "trainer: {epochs: 6}\n"
        "schedule:\n"
        "  name: sequence\n"
        "  parts:\n"
        "    - epochs: 2\n"
        "      schedule: {name: constant, warmup_epochs: 3}\n"
        "    - epochs: 2\n"
        "      schedule:\n"
        "        name: step\n"
        "        milestones: [1, 2]\n"
        "    - epochs: 4\n"
        "      schedule: {name: cosine}\n"
    )
    assert problems(path) == [
        "a.yaml:6:34: schedule.parts[0].schedule.warmup_epochs: expected at most schedule.parts[0].epochs (2), found 3",
        "a.yaml:10:25: schedule.parts[1].schedule.milestones[1]: "
        "expected less than schedule.parts[1].epochs (2), found 2",
        "a.yaml:11:7: schedule.parts[2].epochs: this part would end at 8 epochs, later than trainer.epochs (6)",
    ]


def test_a_config_of_another_task_is_refused_without_noise_about_its_recipe(tmp_path):
    path = tmp_path / "depth.yaml"
    path.write_text("recipe: {bins: 3}\ntask: depth\n")
    [line] = problems(path, task="flow", recipe_settings=Settings)
    assert line == f"depth.yaml:2:1: {path} is a config of task 'depth', this recipe is 'flow'".replace(
        f"{tmp_path}/", ""
    )
    assert load_config(path, task="depth").task == "depth"


def test_a_config_without_a_task_becomes_one_of_the_recipe():
    assert load_config(None, task="flow").task == "flow"


def test_the_recipe_section(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("recipe: {size: [128, 64], dropout: 0, limit: 3, blocks: [{}, {channels: 2}]}\n")
    recipe = load_config(path, recipe_settings=Settings).recipe
    assert recipe == Settings(size=(128, 64), dropout=0.0, limit=3, blocks=[Block(), Block(channels=2)])
    assert load_config(path).recipe == {"size": [128, 64], "dropout": 0, "limit": 3, "blocks": [{}, {"channels": 2}]}
    assert load_config(None, recipe_settings=Settings).recipe == Settings()


def test_a_missing_setting_is_told_at_the_nearest_place(tmp_path):
    class Needs(Section):
        width: int

    path = tmp_path / "a.yaml"
    path.write_text("task: x\nrecipe:\n  # nothing yet\n")
    message = "key 'width' is missing in section 'recipe'"
    assert problems(path, recipe_settings=Needs) == [f"a.yaml:2:1: {message}"]
    path.write_text("# a comment\ntask: x\n")
    assert problems(path, recipe_settings=Needs) == [f"a.yaml:2:1: {message}"]
    assert problems(None, recipe_settings=Needs) == [f"(no config file): {message}"]


def test_syntax_errors_and_bad_overrides_are_told_together(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a:\n\tb: 1\n")
    assert problems(path, "nonsense") == [
        "a.yaml:2:1: a tab; YAML is indented with spaces",
        "command line: nonsense: expected key=value, for instance optimizer.lr=5e-5",
    ]


def test_duplicates_and_wrong_values_are_told_together(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("trainer:\n  epochs: 0\n  epochs: 3\n")
    assert problems(path) == [
        "a.yaml:2:3: trainer.epochs: expected a number of at least 1, found 0",
        "a.yaml:3:3: duplicate key 'epochs', first given in line 2, again in 3",
    ]


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_config(None).trainer.epochs = 3


def test_errors_and_configs_travel_between_processes():
    config = load_config(None, overrides=["loss.a={at: {0: 1}}"])
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ConfigError) as error:
        load_config(None, overrides=["x=1"])
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


numbers = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
weights = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.fixed_dictionaries({"from": numbers, "to": numbers, "epochs": numbers}),
    st.fixed_dictionaries({"at": st.fixed_dictionaries({"0": numbers, "7.5": numbers})}),
)
kinds = [
    {"name": "constant"},
    {"name": "one_cycle", "final_factor": 1e-05},
    {"name": "cosine", "warmup_epochs": 1, "per": "epoch"},
    {"name": "plateau", "min_lr": 1e-07},
    {"name": "step", "milestones": [1, 2.5]},
    {"name": "sequence", "parts": [{"epochs": 2.5}, {"schedule": {"name": "warm_restarts", "period_epochs": 1}}]},
]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lr=numbers,
    hypothesis=st.text(),
    loss=st.dictionaries(st.text(min_size=1), weights, max_size=3),
    options=st.dictionaries(st.text(), numbers | st.text() | st.booleans() | st.none() | st.lists(numbers), max_size=3),
    schedule=st.sampled_from(kinds),
    size=st.tuples(st.integers(100, 999), st.integers()),
)
def test_the_resolved_config_loads_back_equal(tmp_path, lr, hypothesis, loss, options, schedule, size):
    config = Config.model_validate(
        {
            "hypothesis": hypothesis,
            "recipe": Settings(size=size),
            "loss": loss,
            "optimizer": {"lr": lr, "options": options},
            "schedule": schedule,
        }
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8", newline="")
    assert load_config(path, recipe_settings=Settings) == config
    assert load_config(path, recipe_settings=Settings).to_yaml() == config.to_yaml()


def test_the_resolved_config_has_every_key_and_reads_alike_in_yaml_1_1():
    import yaml

    config = load_config(None, overrides=["optimizer.lr=1e-5", "trainer.amp=off", "hypothesis=no"])
    read = yaml.safe_load(config.to_yaml())
    assert read == config.to_dict()
    assert list(read) == list(Config.model_fields)
    assert read["optimizer"]["lr"] == 1e-5  # not the text '1e-05'


def test_a_recipe_with_kinds_of_its_own_follows_the_same_rules(tmp_path):
    class Ssim(Section):
        name: Literal["ssim"] = "ssim"
        window: int = 7

    class Census(Section):
        name: Literal["census"] = "census"
        radius: int = 3

    class Photometric(Section):
        term: Annotated[Ssim | Census, Field(discriminator="name")] = Field(default_factory=Ssim)

    path = tmp_path / "a.yaml"
    path.write_text("recipe: {term: {name: ssim, window: 3}}\n")
    config = load_config(path, overrides=["recipe.term.name=census"], recipe_settings=Photometric)
    assert config.recipe.term == Census()
    assert problems(path, "recipe.term.radius=3", recipe_settings=Photometric) == [
        "command line: recipe.term.radius=3: 'radius' belongs to recipe.term.name: census, and here it is ssim"
    ]


slots = Layout.of(Config, Settings).slots
keys = st.sampled_from(sorted({key for slot in slots.values() for key in slot.keys})) | st.text(max_size=3)
words = st.sampled_from(["one_cycle", "plateau", "norm", "value", "min", "auto", "off", "yes", "1e-3", "cosine"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | words
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=15
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(Config.model_fields, anything)))
def test_anything_is_settings_or_problems(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_text(to_yaml(content), encoding="utf-8", newline="")
    for line in lines_of(path):
        assert line.startswith((f"{path}:", "command line: "))
        assert not any(word in line for word in ("Input should", "pydantic", "valid dictionary", "function-"))


def lines_of(path):
    """The lines of the error, none where there is none; any other exception fails the test."""
    try:
        load_config(path, recipe_settings=Settings, overrides=["clip.kind=norm"])
    except ConfigError as error:
        return str(error).split("\n")
    return []


class Tree(Section):
    branches: "list[Tree]" = Field(default_factory=list)


def test_settings_may_contain_themselves():
    config = load_config(None, overrides=["recipe={branches: [{branches: [{}]}]}"], recipe_settings=Tree)
    assert config.recipe == Tree(branches=[Tree(branches=[Tree()])])


def test_a_problem_is_one_line_whatever_it_quotes():
    [line] = problems(None, "hypothesis=[a\nb\x1b[31m]")
    assert line.isprintable()


def test_import_is_fast_and_light():
    # processor time: what else runs on the machine doubles the time on the clock, and says nothing of the import
    script = (
        "import sys, time; start = time.process_time(); import ignition.config;"
        "print(time.process_time() - start, *({'torch', 'ignite', 'numpy'} & sys.modules.keys()))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(4)
    ]
    assert [extra for _, *extra in runs] == [[]] * 4
    assert min(float(seconds) for seconds, *_ in runs) < 0.25


def test_a_trial_tells_nobody():
    services = ["logging.wandb={project: depth}", "logging.mlflow={experiment: depth}"]
    config = load_config(None, overrides=[*services, "trainer.epochs=3"])
    quiet = config.quiet()
    assert (quiet.logging.wandb, quiet.logging.mlflow, quiet.logging.tensorboard) == (None, None, False)
    assert quiet.trainer == config.trainer


def test_snapshots_must_reach_further_back_than_findings_come_late():
    words = ["stability.on={loss_spike: rollback}", "logging.every=50"]
    assert load_config(None, overrides=[*words, "stability.snapshot_every=17"]).stability.snapshot_every == 17
    (problem,) = problems(None, *words, "stability.snapshot_every=16")
    assert "expected at least 17, since findings come 50 iterations late (logging.every)" in problem
