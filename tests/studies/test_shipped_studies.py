"""The studies of the five recipes: complete, runnable, and each ablation adds one change at a time."""

from itertools import pairwise
from pathlib import Path

import pytest

from ignition.comparison.config_difference import differences, things
from ignition.recipe import load_recipe
from ignition.studies.reading import read_study

STUDIES = Path(__file__).resolve().parents[2] / "configs" / "studies"
TASKS = ("depth", "detection", "flow", "spatial", "vae")


def settings_of(path, folder=Path("runs")):
    """A study, and every variant's settings with all defaults."""
    found = load_recipe(read_study(path).recipe).Settings
    study = read_study(path, found)
    study.check(folder, found)
    return study, {name: study.config(name, 0, folder, found).to_dict() for name in study.file.variants}


def test_there_is_a_study_and_an_ablation_of_every_recipe():
    names = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    assert names == sorted([*TASKS, *(f"{task}_ablation" for task in TASKS)])


@pytest.mark.parametrize("task", TASKS)
def test_before_and_after_have_three_seeds_and_every_expectation_says_whose_it_is(task):
    study, settings = settings_of(STUDIES / f"{task}.yaml")
    assert len(study.file.seeds) >= 3
    assert study.task == task
    assert len(study.expectations) >= 8
    assert all(expectation.said for expectation in study.expectations)
    for config in settings.values():  # nothing is waited for, drawn or sent
        assert config["logging"]["tensorboard"] is False


def test_the_study_of_the_vae_has_all_seven_configs_and_the_default():
    study, _ = settings_of(STUDIES / "vae.yaml")
    assert list(study.file.variants) == [
        "conv1d_base", "conv1d_beta0.5", "conv1d_512d", "conv1d_512d_beta0.5", "conv1d_512d_beta0.1",
        "conv1d_512d_beta0", "resnet_conv1d_512d", "vae",
    ]  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_an_ablation_leads_from_before_to_after_one_change_at_a_time(task):
    whole, of_study = settings_of(STUDIES / f"{task}.yaml")
    ablation, of_ablation = settings_of(STUDIES / f"{task}_ablation.yaml")
    shorter = {"recipe.cores", "trainer.epochs"} if task == "spatial" else set()  # its runs are its own there
    assert (ablation.folder_name == whole.folder_name) == (not shorter)
    names = list(of_ablation)
    first, last = ("resnet_conv1d_512d", "vae") if task == "vae" else ("before", "after")
    assert (names[0], names[-1]) == (first, last)
    for name in (first, last):  # the very runs of the study, where they are not shorter
        assert {found.key for found in differences([of_study[name], of_ablation[name]])} == shorter
    steps = [things(differences([of_ablation[one], of_ablation[other]])) for one, other in pairwise(names)]
    changed = [thing for step in steps for thing in step]
    assert all(steps)
    assert len(changed) == len(set(changed)), "a thing is changed twice"
    assert set(changed) == set(things(differences([of_ablation[first], of_ablation[last]])))
