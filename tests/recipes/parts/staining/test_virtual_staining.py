"""The model of the recipe: its scale, its optional fourth input, whole cores."""

import torch
from torch import nn

from recipes.parts.staining.unet import UNet
from recipes.parts.staining.virtual_staining import VirtualStaining


class Constant(nn.Module):
    """Gives logit 0 for two channels, and keeps what it was given."""

    stride = 1

    def forward(self, picture):
        self.given = picture
        return torch.zeros(len(picture), 2, *picture.shape[2:])


def batch(size=16):
    he = torch.rand(2, 3, size, size)
    return he, 10 * torch.ones(2, 2, size, size), torch.ones(2, 1, size, size, dtype=torch.bool)


def test_the_truth_stands_beside_the_prediction_on_its_scale():
    model = VirtualStaining(Constant(), [True, False])
    model.scaler.high.copy_(torch.tensor([20.0, 40.0]))
    found = model(*batch())

    assert found.markers.unique().tolist() == [0.5]
    assert found.truth[0, :, 0, 0].tolist() == [0.5, 0.25]
    assert found.weights.tolist() == [1, 0]


def test_edges_are_the_fourth_input():
    network = Constant()
    model = VirtualStaining(network, [True, True], boundary_input=True)
    he = torch.ones(1, 3, 8, 8)
    he[..., 4:] = 0.5
    model.markers(he)

    assert network.given.shape == (1, 4, 8, 8)
    assert torch.equal(network.given[:, :3], he)
    assert (network.given[0, 3, 4] > 0.1).tolist() == [False, False, False, True, True, False, False, False]


def test_whole_cores_in_tiles_are_predicted_as_at_once():
    torch.manual_seed(0)
    model = VirtualStaining(UNet(3, 2, base=4, depth=1), [True, True]).eval()
    at_once, tiled = (model.whole(*given, tile=tile, halo=10) for given in [batch(96)] for tile in (96, 48))

    assert at_once.markers.shape == (2, 2, 96, 96)
    assert torch.allclose(at_once.markers, tiled.markers, atol=1e-5)
