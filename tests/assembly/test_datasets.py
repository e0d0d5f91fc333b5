"""The recipe's data, read no more than needed and refused where there is none."""

from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from ignition import assembly
from ignition.assembly import AssemblyError
from ignition.recipe import Splits


def test_an_evaluation_does_not_touch_training_data():
    def forbidden():
        raise AssertionError("was read")

    splits = assembly.build_splits(SimpleNamespace(datasets=lambda: Splits(train=forbidden, val=[1])), training=False)
    assert splits.val == [1]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (Splits(train=[], val=[1]), "the train data is empty"),
        (Splits(train=[1], val=lambda: []), "the val data is empty"),
        (Splits(train=[1], val=DataLoader([1])), r"data.val: datasets\(\) gives a DataLoader; give its dataset"),
        ([1], "must return ignition.recipe.Splits"),
    ],
)
def test_data_that_is_none_is_named(splits, message):
    with pytest.raises(AssemblyError, match=message):
        assembly.build_splits(SimpleNamespace(datasets=lambda: splits))
