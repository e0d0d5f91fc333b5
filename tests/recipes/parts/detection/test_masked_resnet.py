import torch
from torchvision.models import resnet50
from torchvision.ops import FrozenBatchNorm2d

from recipes.parts.detection.masked_resnet import MaskedResNet50


@torch.no_grad()
def test_without_padding_it_is_torchvision_s_with_its_weights():
    torch.manual_seed(0)
    theirs = resnet50(weights=None, norm_layer=FrozenBatchNorm2d).eval()
    state = {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    own = MaskedResNet50().eval()
    assert set(own.state_dict()) == set(state)
    own.load_state_dict(state)
    x, mask = torch.randn(1, 3, 70, 101), torch.ones(1, 70, 101, dtype=torch.bool)
    theirs.avgpool, theirs.fc = torch.nn.Identity(), torch.nn.Identity()
    features, there = own(x, mask)
    assert features.shape == (1, 2048, 3, 4)
    assert there.all()
    assert torch.allclose(features.flatten(1), theirs(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_features_do_not_depend_on_padding():
    torch.manual_seed(0)
    own = MaskedResNet50().eval()
    for module in own.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.bias.uniform_(0, 0.5)  # so that a normalised nought is none
            module.weight.fill_(0.5)
    x, found = torch.randn(1, 3, 50, 70), []
    for height, width in ((64, 96), (160, 128)):
        image, mask = torch.zeros(1, 3, height, width), torch.zeros(1, height, width, dtype=torch.bool)
        image[..., :50, :70], mask[..., :50, :70] = x, True
        features, there = own(image, mask)
        assert there.sum() == 2 * 3
        found.append(features[..., :2, :3])
    assert (found[0] - found[1]).abs().max() < 1e-5 * found[0].abs().max()
