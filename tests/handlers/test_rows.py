import math

import numpy as np
import pytest
import torch

from ignition.handlers.rows import Told, numbers_of, picture_of, pixels_of


def test_numbers_are_what_is_one_and_no_place():
    row = {"time": 1.0, "iteration": 2, "epoch": 1, "a": np.float32(0.5), "b": 3, "c": True, "d": "NaN", "e": math.inf}
    assert numbers_of(row) == {"a": 0.5, "b": 3, "e": math.inf}


def test_what_lies_beyond_is_cut_off_and_nan_is_black():
    image = torch.tensor([-1.0, 0.5, 2.0, math.nan]).reshape(1, 2, 2)
    assert pixels_of("x", image).tolist() == [[[0, 128], [255, 0]]]
    assert picture_of("x", image).mode == "L"
    assert picture_of("x", torch.zeros(3, 4, 5)).size == (5, 4)


@pytest.mark.parametrize("shape", [(4, 4), (2, 4, 4), (1, 3, 4, 4)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"x has shape \[.*\]; an image is \[C,H,W\] with 1, 3 or 4 channels"):
        pixels_of("x", torch.zeros(shape))


def test_nothing_is_told_twice_over_a_resume():
    told = Told()
    assert told.fresh(7, {"loss": 1.0}) == {"loss": 1.0}
    resumed = Told(told.iteration, told.names)
    assert [resumed.fresh(i, {"loss": 1.0, "val": 2.0}) for i in (6, 7, 7, 8)] == [
        {}, {"val": 2.0}, {}, {"loss": 1.0, "val": 2.0},
    ]  # fmt: skip
