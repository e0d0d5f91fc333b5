"""What is said of the shipped configs: nothing, but of those that show what goes wrong."""

import shlex
from pathlib import Path

import pytest
from torch import nn

from ignition.assembly.reviewing import review_recipe
from ignition.config import Places, load_config
from ignition.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

PLAIN_VAE = [("angle_as_stored", "recipe.form"), ("position_forgotten", "recipe.keep_position"),
             ("unweighted_groups", "loss.render_l1")]  # fmt: skip
COLLAPSING_VAE = [("collapsing_code", "loss.kl.to"), *PLAIN_VAE]
MOVING_VAE = [*COLLAPSING_VAE, ("moving_loss", "checkpoint.metric"), ("moving_loss", "schedule.metric")]

# Configs that repeat on purpose what went wrong, and what is said of them.
ON_PURPOSE = {
    "depth_before": [
        ("no_dropout", "recipe.dropout"), ("rate_too_high", "optimizer.lr"), ("no_schedule", "schedule.name"),
        ("no_clipping", "clip.kind"), ("no_decay", "optimizer.weight_decay"), ("no_early_stop", "early_stop"),
    ],
    "flow_before": [
        ("little_ssim", "recipe.alpha_ssim"), ("no_census", "loss.census"), ("held_weakly", "loss.smooth"),
        ("held_weakly", "loss.consistency"), ("segments_at_once", "loss.segment"),
        ("weak_augmentation", "recipe.jitter"), ("rate_too_high", "optimizer.lr"),
        ("short_warmup", "schedule.warmup_epochs"),
    ],
    "spatial_before": [
        ("explosive_penalty", "loss.variance_exponential"), ("conflicting_term", "loss.focal"),
        ("small_split", "recipe.val_share"), ("small_batch", "data.batch_size"), ("rate_too_high", "optimizer.lr"),
        ("no_warmup", "schedule.warmup_epochs"), ("hasty_plateau", "schedule.patience"),
        ("plateau_without_time", "trainer.epochs"), ("no_early_stop", "early_stop"),
    ],
    "detection_before": [
        ("black_padding", "recipe.padding"), ("padding_unmasked", "recipe.mask"), ("rate_too_high", "optimizer.lr"),
        ("no_warmup", "schedule.warmup_epochs"), ("no_schedule", "schedule.name"), ("no_clipping", "clip.kind"),
        ("no_decay", "optimizer.weight_decay"),
    ],
    "conv1d_base": MOVING_VAE,
    "conv1d_beta0.5": MOVING_VAE,
    "conv1d_512d": MOVING_VAE,
    "conv1d_512d_beta0.5": MOVING_VAE,
    "conv1d_512d_beta0.1": COLLAPSING_VAE,
    "conv1d_512d_beta0": PLAIN_VAE,
    "resnet_conv1d_512d": PLAIN_VAE,
}  # fmt: skip


def objections(config, *settings):
    """What the command says of a config, but for the disk: no model is built here."""
    task = Places(config).task
    recipe = load_recipe(ROOT / "recipes" / f"{task}.py")
    loaded = load_config(config, overrides=settings, recipe_settings=recipe.Settings)
    place = Places(config, settings, recipe.Settings).of
    made = recipe(loaded.recipe, loaded.data)
    return review_recipe(made, loaded, place, folder=ROOT, model=nn.Linear(100, 100)).objections


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_what_is_said_of_a_config(config):
    found = [(objection.name, objection.key) for objection in objections(config)]
    assert found == ON_PURPOSE.get(config.stem, [])


def test_every_config_that_is_before_something_is_among_them():
    names = {config.stem for config in CONFIGS}
    assert len(names) > 30
    assert set(ON_PURPOSE) <= names
    assert {name for name in names if name.endswith("_before")} <= set(ON_PURPOSE)


@pytest.mark.parametrize("name", ON_PURPOSE)
def test_each_remedy_ends_its_objection_and_all_together_all_of_them(name):
    config = ROOT / "configs" / f"{name}.yaml"
    pasted = []
    for objection in objections(config):
        assert Path(objection.place.split(":")[0]).is_absolute()  # file, line and column, in this config or its base
        assert int(objection.place.split(":")[1]) >= 1
        for advice in objection.advice:
            left = objections(config, *shlex.split(advice.override))
            assert (objection.name, objection.key) not in [(other.name, other.key) for other in left], advice
        pasted += shlex.split(objection.advice[0].override)
    assert objections(config, *pasted) == []


# What a setting changed in a shipped config is objected to for, and a remedy.
@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("depth_mono", ["recipe.flip=true"], "upside_down"),
        ("depth_finetune", ["schedule.patience=60", "early_stop.patience=60"], "patience_longer_than_run"),
        ("depth", ["checkpoint.metric=val/epa"], "no_such_metric"),
        ("depth", ["data.batch_size=1024"], "batch_larger_than_data"),
        ("flow", ["recipe.occlusion_from=200"], "beyond_the_run"),
        ("flow", ["loss.segment.start=800"], "beyond_the_run"),
        ("flow_animerun", ["optimizer.lr=4e-4"], "rate_too_high"),
        ("spatial", ["recipe.jitter=0.8"], "stain_beyond_limits"),
        ("spatial_orion", ["optimizer.lr=5e-4", "data.batch_size=8"], "rate_too_high"),
        ("vae", ["loss.kl={from: 0.0, to: 1.0, epochs: 5}"], "short_beta_warmup"),
        ("vae", ["loss.kl={from: 0.0, to: 1.0, epochs: 5, cycles: 4}"], "collapsing_code"),
        ("vae", ["loss.kl=1.0"], "short_beta_warmup"),
        ("vae", ["recipe.val_samples=4"], "small_split"),
        ("detection", ["clip=null"], "no_clipping"),
        ("detection_finetune", ["recipe.vertical_flip=0.5"], "upside_down"),
        ("detection_finetune", ["optimizer.lr=1e-4"], "rate_too_high"),
        ("detection_coco", ["optimizer.groups=[]"], "one_rate"),
        ("detection_coco", ["review.accept=[]"], "decay_on_norms"),
    ],
)
def test_a_change_for_the_worse_is_objected_to(name, settings, said):
    config = ROOT / "configs" / f"{name}.yaml"
    found = [objection for objection in objections(config, *settings) if objection.name == said]
    assert found
    for objection in found:
        left = objections(config, *settings, *shlex.split(objection.advice[0].override))
        assert (objection.name, objection.key) not in [(other.name, other.key) for other in left]


@pytest.mark.parametrize(
    ("name", "source", "folder", "both"),
    [("vae", "fits", "vae/image_gs_fits", 10), ("spatial_core", "cores", "spatial", 1)],
)
def test_a_folder_that_is_spelled_in_two_ways_is_not_divided(name, source, folder, both):
    root = ROOT / "../shared/data" / folder
    if not root.is_dir():
        pytest.skip(f"no {root}")
    config = ROOT / "configs" / f"{name}.yaml"
    settings = [f"data.train={{name: {source}, root: {root}}}", f"data.val={{name: {source}, root: {root}/}}"]
    (leak,) = [objection for objection in objections(config, *settings) if objection.name == "leaking_split"]
    assert f"the validation data has {both} in common with the training data" in leak.message
    alike = [*settings[:1], f"data.val={{name: {source}, root: {root}}}"]
    assert leak.advice[0].override == f"data.val.name={source} data.val.root={root}"
    assert "leaking_split" not in [objection.name for objection in objections(config, *alike)]
