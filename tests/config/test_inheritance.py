"""``base:`` — what is inherited, what is replaced, and where problems point."""

import pytest

from ignition.config import ConfigError, Section, load_config


@pytest.fixture
def write(tmp_path):
    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path / "child.yaml"

    return write


def problems(path, **arguments):
    with pytest.raises(ConfigError) as error:
        load_config(path, **arguments)
    return str(error.value).replace(f"{path.parent}/", "").split("\n")


def test_mappings_join_and_the_rest_replaces(write):
    child = write(
        parent="optimizer: {lr: 1e-3, groups: [{pattern: a}, {pattern: b}]}\ntrainer: {epochs: 5}\n"
        "early_stop: {patience: 3}",
        child="base: parent.yaml\noptimizer: {lr: 5e-5, groups: [{pattern: c}]}\nearly_stop: null",
    )
    config = load_config(child)
    assert config.optimizer.lr == 5e-5
    assert [group.pattern for group in config.optimizer.groups] == ["c"]
    assert config.trainer.epochs == 5
    assert config.early_stop is None


def test_null_takes_any_section_back_to_its_defaults(write):
    child = write(
        parent="schedule: {name: cosine}\nclip: {kind: norm}\ntrainer: {epochs: 3}\nrecipe: {width: 3}\nloss: {a: 1}",
        child="base: parent.yaml\nschedule: null\nclip:\ntrainer: ~\nrecipe: null\nloss:",
    )
    assert load_config(child) == load_config(None)


def test_chains_go_through_folders(write, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.yaml").write_text("base: ../b.yaml\ndata: {workers: 1}")
    child = write(b="data: {workers: 7, batch_size: 3}", child="base: inner/a.yaml\ntask: depth")
    config = load_config(child)
    assert (config.data.workers, config.data.batch_size, config.task) == (1, 3, "depth")


def test_circles_and_missing_bases_are_told_at_the_key(write):
    child = write(a="trainer: {epochs: 2}\nbase: child.yaml", child="base: a.yaml")
    assert problems(child) == ["a.yaml:2:1: base: configs inherit in a circle: child.yaml <- a.yaml <- child.yaml"]
    child = write(child="base: child.yaml")
    assert problems(child) == ["child.yaml:1:1: base: configs inherit in a circle: child.yaml <- child.yaml"]
    child = write(child="task: x\nbase: nowhere.yaml")
    assert problems(child) == ["child.yaml:2:1: base: no such config file: nowhere.yaml"]
    child = write(child="base: [a, b]")
    assert problems(child) == ["child.yaml:1:1: base: expected the name of one config file"]


def test_a_problem_names_the_file_its_value_stands_in(write):
    child = write(parent="\ntrainer:\n  epochs: 0\noptimizer: {lr: 1}", child="base: parent.yaml\noptimizer: {lr: x}")
    assert problems(child, overrides=["data.workers=-1"]) == [
        "child.yaml:2:13: optimizer.lr: expected a number, found text 'x'",
        "parent.yaml:3:3: trainer.epochs: expected a number of at least 1, found 0",
        "command line: data.workers=-1: expected a number of at least 0, found -1",
    ]


def test_another_kind_inherits_nothing_of_its_section(write):
    child = write(
        parent="schedule: {name: one_cycle, warmup_fraction: 0.1}\nclip: {kind: norm, max_norm: 3}",
        child="base: parent.yaml\nschedule: {name: plateau, patience: 9}\nclip: {kind: value, max_value: 0.5}",
    )
    config = load_config(child)
    assert (config.schedule.name, config.schedule.patience, config.clip.max_value) == ("plateau", 9, 0.5)


def test_the_same_kind_inherits_the_other_keys(write):
    child = write(
        parent="schedule: {name: one_cycle, warmup_fraction: 0.1}\nclip: {kind: norm, max_norm: 3}",
        child="base: parent.yaml\nschedule: {name: one_cycle, start_factor: 0.5}\nclip: {max_norm: 2}",
    )
    config = load_config(child)
    assert (config.schedule.warmup_fraction, config.schedule.start_factor, config.clip.max_norm) == (0.1, 0.5, 2.0)


@pytest.mark.parametrize(
    "overrides", [["schedule.name=plateau", "schedule.patience=3"], ["schedule.patience=3", "schedule.name=plateau"]]
)
def test_overrides_change_the_kind_in_any_order(write, overrides):
    child = write(child="schedule: {name: one_cycle, warmup_fraction: 0.1}")
    assert load_config(child, overrides=overrides).schedule.patience == 3


def test_another_name_drops_what_belongs_to_the_old_one(write):
    child = write(child="optimizer: {options: {betas: [0.9, 0.95]}, lr: 0.5}\ndata: {val: {name: driving, root: /d}}")
    config = load_config(child, overrides=["optimizer.name=SGD", "data.val.name=procedural"])
    assert (config.optimizer.options, config.optimizer.lr, config.data.val.root) == ({}, 0.5, None)
    # the default's name said aloud is no change
    assert load_config(child, overrides=["optimizer.name=AdamW"]).optimizer.options == {"betas": [0.9, 0.95]}
    # what comes with the new name stays
    config = load_config(child, overrides=["data.val.root=/e", "data.val.name=other"])
    assert (config.data.val.name, config.data.val.root) == ("other", "/e")


def test_weights_join_as_ramps_and_are_replaced_otherwise(write):
    child = write(
        parent="loss: {a: {from: 0, to: 1, epochs: 50}, b: {from: 0, to: 1, epochs: 50}, c: {at: {0: 1, 50: 0}}, d: 1}",
        child="base: parent.yaml\nloss: {a: {epochs: 5}, b: {at: {0: 2}}, c: {at: {0: 1, 80: 0}}, e: 3}",
    )
    loss = load_config(child).loss
    assert loss["a"].value(2.5) == 0.5
    assert loss["b"].value(9) == 2
    assert loss["c"].value(60) == 1  # the inherited switch at 50 is gone
    assert (loss["d"].value(0), loss["e"].value(0)) == (1, 3)


def test_a_required_key_may_be_inherited(write):
    class Settings(Section):
        width: int

    child = write(parent="recipe: {width: 3}", child="base: parent.yaml\nrecipe: {}")
    assert load_config(child, recipe_settings=Settings).recipe.width == 3
