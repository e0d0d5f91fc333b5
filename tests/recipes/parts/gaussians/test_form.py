"""The eight numbers and their canonical form: one Gaussian, one form; the same picture; statistics that are kept."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.parts.gaussians.form import FORMS, GROUPS, CanonicalForm, ColumnStatistics, check_gaussians
from recipes.parts.gaussians.render import render

FORM = CanonicalForm()
INVERSE = st.floats(0.05, 2.0)
GAUSSIAN = st.tuples(
    st.floats(0, 1), st.floats(0, 1), INVERSE, INVERSE, st.floats(-math.pi, math.pi), *[st.floats(-0.5, 1.5)] * 3
)


def draw(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(1, count, 8, generator=generator)
    numbers[..., 2:4] = 0.1 + numbers[..., 2:4]
    numbers[..., 4] = (numbers[..., 4] - 0.5) * 6
    return numbers


@pytest.mark.parametrize("name", FORMS)
def test_groups_cover_every_column_once(name):
    form = FORMS[name]
    columns = torch.arange(form.columns)

    assert tuple(form.groups) == GROUPS
    assert torch.cat([columns[group] for group in form.groups.values()]).tolist() == columns.tolist()
    assert form.encode(draw()).shape == form.weights(form.encode(draw())).shape == (1, 64, form.columns)


@given(GAUSSIAN)
def test_decoding_and_encoding_again_changes_nothing(numbers):
    columns = FORM.encode(torch.tensor(numbers, dtype=torch.float64))

    assert torch.allclose(FORM.encode(FORM.decode(columns)), columns, atol=1e-6)


@given(GAUSSIAN, st.integers(-3, 3))
def test_all_ways_to_store_a_gaussian_have_one_form(numbers, quarters):
    x, y, first, second, angle, *colour = numbers
    scales = (first, second) if quarters % 2 == 0 else (second, first)
    turned = (x, y, *scales, angle + quarters * math.pi / 2, *colour)

    columns, other = (FORM.encode(torch.tensor(way, dtype=torch.float64)) for way in (numbers, turned))
    same = torch.isclose(columns, other, atol=1e-6)
    if first == second:  # a round one has every angle, and none of them counts
        assert (FORM.weights(columns)[4:6] == 0).all()
        same[4:6] = True
    assert same.all()
    assert columns[2] >= columns[3]


def test_the_canonical_form_renders_the_same():
    gaussians = draw()

    assert torch.allclose(render(FORM.decode(FORM.encode(gaussians))), render(gaussians), atol=1e-4)


def test_numbers_by_hand():
    # Inverse scales 0.5 and 0.25 1/px: the second axis is the longer one, 4 px, and stands at 30° + 90°.
    columns = FORM.encode(torch.tensor([0.1, 0.2, 0.5, 0.25, math.radians(30), 0.3, 0.4, 0.5]))

    angle = math.radians(240)
    expected = [0.1, 0.2, math.log(4), math.log(2), math.cos(angle), math.sin(angle), 0.3, 0.4, 0.5]
    assert columns.tolist() == pytest.approx(expected, abs=1e-6)
    assert FORM.weights(columns).tolist() == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 1, 1, 1])


def test_no_direction_at_all_has_finite_gradients():
    columns = torch.zeros(1, 9, requires_grad=True)
    FORM.decode(columns).sum().backward()

    assert columns.grad.isfinite().all()


def test_scales_that_cannot_be_are_cut():
    gaussians = torch.tensor([[0.5, 0.5, 0.0, -1e9, 0.0, 0, 0, 0]])

    assert FORM.decode(FORM.encode(gaussians))[0, 2:4].tolist() == pytest.approx([1e-3, 1e2])


def test_statistics_count_by_weight_and_are_part_of_the_state():
    statistics = ColumnStatistics(2)
    statistics.fit(torch.tensor([[1.0, 7.0], [3.0, 9.0], [99.0, 7.0]]), torch.tensor([[1.0, 3], [1, 1], [0, 0]]))

    assert statistics.mean.tolist() == [2.0, 7.5]
    assert statistics.std.tolist() == pytest.approx([1.0, math.sqrt(0.75)])
    assert set(statistics.state_dict()) == {"mean", "std"}
    columns = torch.rand(4, 2)
    assert torch.allclose(statistics.restore(statistics.normalise(columns)), columns, atol=1e-6)


def test_a_column_that_does_not_vary_keeps_its_scale():
    statistics = ColumnStatistics(1)
    statistics.fit(torch.full((5, 1), 4.0))

    assert (statistics.mean.item(), statistics.std.item()) == (4.0, 1.0)


def test_bad_gaussians_are_told():
    with pytest.raises(ValueError, match=r"shape \(3, 7\); expected \(count, 8\)"):
        check_gaussians(torch.zeros(3, 7))
    bad = torch.zeros(5, 8)
    bad[3, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 Gaussians are not finite, the first in row 3"):
        check_gaussians(bad)
    with pytest.raises(ValueError, match="not finite"):
        ColumnStatistics(8).fit(bad)
