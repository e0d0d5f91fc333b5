"""The autoencoder as a whole: any order in, its own order out; what it begins with; what it keeps."""

import pytest
import torch

from recipes.parts.gaussians.augmentation import GaussianAugmentation
from recipes.parts.gaussians.losses import group_errors
from recipes.parts.gaussians.procedural_gaussians import ProceduralGaussians
from recipes.parts.gaussians.render import render
from recipes.parts.gaussians.vae import GaussianVAE

COUNT = 64


def sets(number, seed=0):
    data = ProceduralGaussians(number, gaussians=COUNT, seed=seed)
    return torch.stack([data[index]["gaussians"] for index in range(number)])


def make(network="grid", **options):
    torch.manual_seed(0)
    return GaussianVAE(**{"network": network, "latent": 32, "count": COUNT, **options})


VARIANTS = [
    ("conv1d", {"form": "stored", "order": "morton", "keep_position": False}),
    ("conv1d", {}),
    ("resnet", {}),
    ("resnet", {"keep_position": False}),
    ("grid", {}),
]


@pytest.mark.parametrize(("network", "options"), VARIANTS)
def test_every_network_gives_what_it_says(network, options):
    model = make(network, **options).eval()
    gaussians = sets(3)
    model.fit_statistics(gaussians)
    found = model(gaussians)

    assert found.gaussians.shape == found.target.shape == (3, COUNT, 8)
    assert found.columns.shape == found.truth.shape == found.weights.shape == (3, COUNT, model.form.columns)
    assert found.mean.shape == found.log_variance.shape == (3, 32)
    assert model.decode(found.mean).shape == (3, COUNT, 8)
    assert torch.allclose(model.decode(found.mean), found.gaussians, atol=1e-5)
    assert torch.allclose(render(found.target, size=16), render(gaussians, size=16), atol=1e-4)  # an order alone


@pytest.mark.parametrize(("network", "options"), VARIANTS)
def test_the_order_of_a_set_does_not_matter(network, options):
    model = make(network, **options).eval()
    gaussians = sets(2)
    shuffled = gaussians[:, torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))]

    assert torch.allclose(model(shuffled).gaussians, model(gaussians).gaussians, atol=1e-5)


def test_training_draws_the_code_and_evaluation_takes_its_mean():
    model, gaussians = make("conv1d"), sets(4)
    model.train()
    assert not torch.equal(model(gaussians).columns, model(gaussians).columns)
    model.eval()
    state = torch.get_rng_state()
    assert torch.equal(model(gaussians).columns, model(gaussians).columns)
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics_go_with_the_weights():
    model, other = make(), make()
    model.fit_statistics(sets(16))
    assert not torch.equal(model.statistics.mean, other.statistics.mean)
    other.load_state_dict(model.state_dict())

    assert torch.equal(model.eval()(sets(2, 1)).gaussians, other.eval()(sets(2, 1)).gaussians)


def test_normalised_training_data_has_mean_nought_and_spread_one():
    model, gaussians = make(), sets(32)
    model.fit_statistics(gaussians)
    found = model.eval()(gaussians)
    total = found.weights.sum((0, 1))

    assert torch.allclose((found.weights * found.truth).sum((0, 1)) / total, torch.zeros(9), atol=1e-4)
    assert torch.allclose((found.weights * found.truth.square()).sum((0, 1)) / total, torch.ones(9), atol=1e-3)


def test_the_mean_of_everything_has_an_error_of_one_in_every_group():
    model, gaussians = make(), sets(32)
    model.fit_statistics(gaussians)
    found = model.trivial(gaussians)
    errors = group_errors(found.columns, found.truth, found.weights, model.form.groups)

    assert {name: error.item() for name, error in errors.items()} == pytest.approx(dict.fromkeys(errors, 1.0), abs=1e-3)
    assert (found.mean == 0).all() and (found.log_variance == 0).all()
    assert torch.allclose(found.gaussians, found.gaussians[:1, :1].expand_as(found.gaussians), atol=1e-6)


def test_linear_maps_begin_as_principal_components():
    # 63 components of 64 sets say all there is about them: nothing is lost but by the angles of round Gaussians.
    model, gaussians = make(latent=80), sets(64)
    model.fit_statistics(gaussians)
    torch.manual_seed(0)
    model.start_linear(gaussians)
    found = model.eval()(gaussians)
    errors = group_errors(found.columns, found.truth, found.weights, model.form.groups)

    assert max(error for name, error in errors.items() if name != "rotation") < 0.002
    assert errors["rotation"] < 0.25
    # The code has mean 0 and variance 1 in every unit but those that are left over.
    assert torch.allclose(found.mean.mean(0), torch.zeros(80), atol=2e-3)
    assert torch.allclose(found.mean[:, :63].var(0), torch.ones(63), atol=0.1)
    assert found.mean[:, 63:].abs().max() < 1e-4


def test_fewer_components_say_less_and_more_data_is_foreseen():
    train = GaussianAugmentation(exchange_colours=False)({"gaussians": sets(128)})["gaussians"]
    errors = []
    for latent in (8, 64):
        model = make(latent=latent)
        model.fit_statistics(train)
        model.start_linear(train)
        found = model.eval()(sets(16, seed=5))
        errors.append(group_errors(found.columns, found.truth, found.weights, model.form.groups)["colour"])

    assert errors[1] < 0.5 * errors[0] < 0.5


def test_networks_without_linear_maps_are_left_alone():
    model = make("resnet")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.start_linear(sets(8))

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="'grid' needs the order 'balanced'"):
        make(order="morton")
    with pytest.raises(ValueError, match="keeps the position"):
        make(keep_position=False)
    with pytest.raises(ValueError, match=r"Gaussians are \(2, 32, 8\); this model takes \(batch, 64, 8\)"):
        make()(torch.rand(2, 32, 8))
