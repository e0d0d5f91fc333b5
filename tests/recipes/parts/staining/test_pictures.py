"""The strips that a person looks at."""

import torch

from recipes.parts.staining.pictures import staining_strip


def test_predicted_above_measured_below():
    he, markers, truth = torch.rand(3, 64, 64), torch.zeros(2, 64, 64), torch.ones(2, 64, 64)
    strip = staining_strip(he, markers, truth, channels=["DNA", "CD3"])
    height = strip.shape[1] // 2

    assert strip.shape[0] == 3 and strip.shape[2] > 3 * 240
    assert strip[:, 100, 300:400].max() == 0  # a prediction of nothing is black
    assert strip[:, height + 100, 300:400].min() == 1
    assert torch.equal(strip[:, 60:200, :200], strip[:, height + 60 : height + 200, :200])  # H&E in both rows
