"""Orders of points: permutations that do not depend on the order given, and keep near what is near."""

import pytest
import torch

from recipes.parts.gaussians.order import ORDERS, balanced_order, morton_order, put_in_order


def points(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("count", [1, 5, 64, 100])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_an_order_is_a_permutation_whatever_order_is_given(name, count, dimensions):
    given = points(3, count, dimensions)
    shuffled = given[:, torch.randperm(count, generator=torch.Generator().manual_seed(1))]

    order = ORDERS[name](given)
    assert torch.equal(order.sort(-1).values, torch.arange(count).expand(3, -1))
    sort = [set_.gather(1, ORDERS[name](set_).unsqueeze(-1).expand_as(set_)) for set_ in (given, shuffled)]
    assert torch.equal(*sort)


@pytest.mark.parametrize("name", ORDERS)
def test_a_batch_is_ordered_as_its_sets_are(name):
    given = points(4, 33, 2)

    assert torch.equal(ORDERS[name](given), torch.stack([ORDERS[name](one) for one in given]))


@pytest.mark.parametrize("name", ORDERS)
def test_neighbours_in_the_sequence_are_neighbours_in_the_plane(name):
    given = points(512, 2)
    step = given[ORDERS[name](given)].diff(dim=0).norm(dim=1).mean()

    assert step < 0.15 * given.diff(dim=0).norm(dim=1).mean()  # two points drawn at random are 0.52 apart


def test_the_z_curve_by_hand():
    # Quarters of the square: x counts before y, and the curve goes through each quarter before the next.
    given = torch.tensor([[0.1, 0.1], [0.4, 0.1], [0.1, 0.4], [0.6, 0.1], [0.1, 0.6]])

    assert morton_order(given.flip(0)).tolist() == [4, 3, 2, 1, 0]
    assert morton_order(torch.tensor([[2.0, 2.0], [-1.0, -1.0]])).tolist() == [1, 0]  # outside is the border


def test_a_leaf_of_the_balanced_tree_stands_for_one_place():
    # The order gives the first half of the places to the left half of the points, and so on.
    sets = points(200, 64, 2)
    ordered = sets.gather(1, balanced_order(sets).unsqueeze(-1).expand_as(sets))

    assert (ordered[:, :32, 0].amax(1) <= ordered[:, 32:, 0].amin(1)).all()
    assert (ordered[:, :16, 1].amax(1) <= ordered[:, 16:32, 1].amin(1)).all()
    explained = 1 - ordered.var(0).mean() / sets.flatten(0, 1).var(0).mean()
    morton = sets.gather(1, morton_order(sets).unsqueeze(-1).expand_as(sets))
    assert explained > 0.85 > 0.7 > 1 - morton.var(0).mean() / sets.flatten(0, 1).var(0).mean()


def test_gaussians_keep_their_numbers():
    gaussians = torch.rand(2, 16, 8)
    ordered = put_in_order(gaussians, "morton")

    assert {tuple(row) for row in ordered[0].tolist()} == {tuple(row) for row in gaussians[0].tolist()}
    assert torch.equal(put_in_order(ordered, "morton"), ordered)


def test_too_many_bits_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        morton_order(torch.rand(4, 3), bits=21)
