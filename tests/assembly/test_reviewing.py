"""What a review sees of data, model and disk, and what it does with what a recipe says of itself."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from ignition.assembly.reviewing import look, review_recipe
from ignition.checkpoint_file import save
from ignition.config import load_config
from ignition.recipe import RecipeError, Splits, Traits
from ignition.review import Objection

DATA = list(range(100))


def recipe(splits=None, model=lambda: nn.Linear(3, 2), **parts):
    return SimpleNamespace(datasets=lambda: splits or Splits(train=DATA, val=DATA[:20]), model=model, **parts)


def facts(made, *settings, folder=Path()):
    return look(made, load_config(None, overrides=settings), folder=folder)


class Scans:
    """Slices of recordings."""

    def __init__(self, *recordings):
        self.recordings = list(recordings)

    def __len__(self):
        return len(self.recordings)

    def __getitem__(self, index):
        return self.recordings[index]


def test_sizes_are_asked_for_and_functions_called():
    seen = facts(recipe(Splits(train=lambda: DATA, val=DATA[:20])))
    assert (seen.train_samples, seen.val_samples, seen.shared, seen.shuffled) == (100, 20, (), False)
    assert seen.free_bytes > 0
    assert seen.unknown == ()


def test_data_that_is_not_there_is_unknown_and_no_error():
    def missing():
        raise FileNotFoundError("data/pairs: no such folder")

    seen = facts(recipe(Splits(train=missing, val=DATA)))
    assert (seen.train_samples, seen.val_samples) == (None, 100)
    assert seen.unknown == ("data.train: data/pairs: no such folder",)


def test_a_model_that_cannot_be_made_is_unknown_and_no_error():
    def broken():
        raise ValueError("recipe.width is odd")

    seen = facts(recipe(model=broken))
    assert (seen.checkpoint_bytes, seen.unknown) == (None, ("model: recipe.width is odd",))


def test_a_model_that_looks_at_its_numbers_is_made_with_them():
    def looks():
        model = nn.Linear(3, 2)
        assert model.weight.abs().sum().item() > 0  # impossible without memory
        return model

    assert facts(recipe(model=looks)).checkpoint_bytes == 96


def test_layers_of_attention_are_seen():
    assert facts(recipe(model=lambda: nn.TransformerEncoderLayer(8, 2))).attention
    assert not facts(recipe()).attention


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (["optimizer.name=AdamW"], 8 * 4 * 3),  # eight weights, and two moments of each
        (["optimizer.name=SGD"], 8 * 4 * 2),
        (["ema.decay=0.9"], 8 * 4 * 4),
    ],
)
def test_a_checkpoint_takes_weights_moments_and_average(settings, size):
    assert facts(recipe(), *settings).checkpoint_bytes == size


def test_that_is_about_what_a_file_takes(tmp_path):
    model = nn.Linear(300, 300)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    path = tmp_path / "iteration-00000001.pt"
    save(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    expected = facts(recipe(model=lambda: nn.Linear(300, 300))).checkpoint_bytes
    assert expected == 90_300 * 4 * 3
    assert path.stat().st_size == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("train", "val", "shared"),
    [
        (Scans("a", "a", "b"), Scans("b", "c"), ("b",)),
        (Scans("a", "b"), Scans("c"), ()),
        (Subset(DATA, range(90)), Subset(DATA, range(88, 100)), ("sample 88", "sample 89")),
        (Subset(DATA, range(80)), Subset(DATA, range(80, 100)), ()),
        (SimpleNamespace(samples=[("/x/1.png", 0)]), SimpleNamespace(samples=[("/x/1.png", 1)]), ("/x/1.png",)),
        (SimpleNamespace(files=["/x/1.png"]), SimpleNamespace(files=["/y/1.png"]), ()),
        (DATA, DATA, ("all of it",)),
    ],
)
def test_what_is_in_both_splits_is_seen(train, val, shared):
    made = recipe(Splits(train=lambda: train, val=lambda: val))
    assert facts(made).shared == shared


def test_names_of_two_folders_say_nothing():
    made = recipe(Splits(train=Scans("scene-1"), val=Scans("scene-1")))
    assert facts(made, "data.train.root=a", "data.val.root=b").shared == ()


def test_a_loader_that_shuffles_is_seen():
    loader = DataLoader(DATA, shuffle=True)
    assert facts(recipe(Splits(train=DATA, val=loader))).shuffled
    assert facts(recipe(Splits(train=DATA, val=loader))).val_samples == 100
    assert not facts(recipe(Splits(train=DATA, val=DataLoader(DATA)))).shuffled


def reviewed(made, *settings):
    config = load_config(None, overrides=settings)
    return review_recipe(made, config, lambda key: f"here:{key}", folder=Path()).objections


OWN = {"name": "too_wide", "key": "recipe.width", "message": "width is 9", "why": "it learns by heart"}


def test_a_recipes_own_word_is_heard():
    made = recipe(traits=lambda: Traits(transformer=True), objections=lambda config: [OWN])
    found = reviewed(made, "schedule.name=cosine", "optimizer.weight_decay=1e-4")
    assert [objection.name for objection in found] == ["too_wide", "no_clipping"]
    assert found[0] == Objection(
        "too_wide", "recipe.width", "width is 9", "it learns by heart", place="here:recipe.width"
    )
    assert [objection.name for objection in reviewed(made, "clip.kind=norm", "review.accept=[too_wide, no_decay]")] == [
        "no_schedule"
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"traits": lambda: {"transformer": True}},
            r"traits\(\) must return ignition.recipe.Traits, and returned dict",
        ),
        ({"traits": lambda: 1 / 0}, r"traits\(\): ZeroDivisionError"),
        ({"objections": lambda config: [{"name": "x"}]}, "'x'} is no objection: .* missing 3 required"),
        ({"objections": lambda config: [{**OWN, "why": 3}]}, "its why is no text"),
        ({"objections": lambda config: [config.recipe["width"]]}, r"objections\(\): KeyError: 'width'"),
    ],
)
def test_a_recipe_that_speaks_otherwise_is_told(parts, message):
    with pytest.raises(RecipeError, match=message):
        reviewed(recipe(**parts))


def test_nothing_is_logged_and_nothing_is_run(caplog):
    class Silent(nn.Linear):
        def forward(self, x):
            raise AssertionError("was run")

    with caplog.at_level(logging.DEBUG):
        assert reviewed(recipe(model=lambda: Silent(2, 2))) == []
    assert caplog.records == []
