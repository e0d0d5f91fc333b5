"""Loading recipe files, whole and broken."""

import sys

import pytest

from ignition.config.sections import Data
from ignition.recipe import RecipeError, Source, Splits, load_recipe

WHOLE = """
from ignition.recipe import Section
class Recipe:
    class Settings(Section): pass
    def __init__(self, settings, data): pass
    def datasets(self): pass
    def model(self): pass
    def losses(self, model, batch, progress): pass
    def predict(self, model, batch): pass
    def metrics(self): return {}
"""


@pytest.fixture(autouse=True)
def _fresh_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "recipe" in name:
            del sys.modules[name]


def write(tmp_path, text, name="my_recipe.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_recipe_is_importable_under_its_dotted_name(tmp_path):
    package = tmp_path / "many_recipes"
    package.mkdir()
    (package / "__init__.py").touch()
    recipe = load_recipe(write(package, WHOLE))
    assert recipe.__module__ == "many_recipes.my_recipe"  # so that workers can pickle its datasets


def test_a_name_that_is_taken_does_not_matter(tmp_path):
    recipe = load_recipe(write(tmp_path, WHOLE, "random.py"))
    assert recipe.__module__ == "ignition_recipe_random"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Recipe\n", r"my_recipe.py:1: expected ':': class Recipe"),
        ("\nimport no_such_package\n", r"my_recipe.py:2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1 / 0\n", r"my_recipe.py:1: ZeroDivisionError"),
        ("x = 1\n", r"no class named 'Recipe'"),
        (WHOLE.replace("def losses", "def los"), r"class Recipe has no 'losses'"),
        (WHOLE.replace("(Section)", ""), r"must be a subclass of ignition.recipe.Section"),
    ],
)
def test_a_broken_recipe_is_told_with_file_and_line(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, text))


def test_all_missing_parts_are_told_at_once(tmp_path):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "class Recipe: pass\n"))
    assert [line.split("'")[1] for line in str(caught.value).splitlines()] == [
        "Settings", "datasets", "model", "losses", "predict", "metrics",
    ]  # fmt: skip


def test_a_missing_file_names_those_that_are_there(tmp_path):
    write(tmp_path, WHOLE, "depth.py")
    with pytest.raises(RecipeError, match=r"deep.py: no such recipe file \(there: .*depth.py\)"):
        load_recipe(tmp_path / "deep.py")


def test_splits_are_made_of_what_the_config_names_when_they_are_asked_for():
    made = []
    splits = Splits.of(
        Data(train=Source(root="a"), test=Source(name="cores")), lambda source, split: made.append((source.name, split))
    )
    assert made == [] and splits.others == {}

    splits.val(), splits.test()
    assert made == [("procedural", "val"), ("cores", "test")]
    assert Splits.of(Data(), dict).test is None


def test_a_data_set_without_its_folder_says_which_setting_gives_it():
    assert Source(name="cores", root="data").folder("val") == "data"
    with pytest.raises(ValueError, match=r"^data set 'cores' needs a folder: say data\.val\.root=FOLDER$"):
        Source(name="cores").folder("val")


def test_one_folder_for_training_and_validation_is_divided():
    folder = Source(name="cores", root="data")
    assert Data(train=folder, val=folder).divided
    assert not Data(train=folder, val=Source(name="cores", root="other")).divided
    assert not Data().divided  # two procedural sets are different ones
