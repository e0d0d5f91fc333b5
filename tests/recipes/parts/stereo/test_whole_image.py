"""Prediction at any image size."""

import pytest
import torch
from torch import nn

from recipes.parts.stereo.small_net import StereoNet
from recipes.parts.stereo.whole_image import predict_disparity


class Recorder(nn.Module):
    """A network that says that every pixel has a tenth of the image's width as its disparity."""

    stride, max_disparity = 16, 32

    def forward(self, left, right):
        self.seen = left
        return [torch.full_like(left[:, :1], left.shape[-1] / 10)]


def test_the_border_is_repeated_up_to_the_stride_and_cut_off_again():
    model, left = Recorder(), torch.rand(2, 3, 33, 50)

    disparity = predict_disparity(model, left, left)

    assert disparity.shape == (2, 1, 33, 50)
    assert model.seen.shape == (2, 3, 48, 64)
    assert torch.equal(model.seen[..., :33, :50], left)
    assert torch.equal(model.seen[..., 40, 60], left[..., 32, 49])


def test_at_a_multiple_of_the_stride_it_is_the_model_itself():
    torch.manual_seed(0)
    model = StereoNet(max_disparity=32, width=16).eval()
    left, right = torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64)

    assert torch.equal(predict_disparity(model, left, right), model(left, right)[-1])


def test_wide_images_are_predicted_small_and_their_disparities_scaled_back():
    model, left = Recorder(), torch.rand(1, 3, 90, 640)

    disparity = predict_disparity(model, left, left, max_width=320)

    assert model.seen.shape == (1, 3, 48, 320)
    assert disparity.shape == (1, 1, 90, 640)
    assert torch.allclose(disparity, torch.full_like(disparity, 64.0))  # 32 px at half the width


def test_the_default_width_depends_on_the_range_of_the_model_alone():
    model = Recorder()
    for width, seen in ((192, 192), (193, 192), (1000, 192)):  # 6 x 32
        predict_disparity(model, torch.rand(1, 3, 16, width), torch.rand(1, 3, 16, width))
        assert model.seen.shape[-1] == seen


def test_there_is_no_gradient_and_wrong_shapes_are_named():
    model = StereoNet(max_disparity=32, width=16).eval()

    assert not predict_disparity(model, torch.rand(1, 3, 20, 40), torch.rand(1, 3, 20, 40)).requires_grad
    with pytest.raises(ValueError, match=r"both must be the same \[B,3,H,W\]"):
        predict_disparity(model, torch.rand(1, 3, 20, 40), torch.rand(1, 3, 20, 41))
