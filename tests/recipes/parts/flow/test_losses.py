"""Smoothness, forward-backward consistency and the distance to a teacher, with exact numbers."""

import math

import pytest
import torch

from recipes.parts.flow.losses import flow_consistency, flow_distance, flow_smoothness

EVERYWHERE = torch.ones(1, 1, 4, 6, dtype=torch.bool)


def along_x(*values, height=4):
    """A flow [1,2,height,W] whose two components are ``values`` along x."""
    return torch.tensor(values, dtype=torch.float32).expand(1, 2, height, len(values)).clone()


def test_first_order_is_the_mean_step_and_second_order_the_mean_bend():
    flow = along_x(0, 1, 2, 3, 3, 3)  # steps 1 1 1 0 0, bends 0 0 -1 0; none along y

    assert flow_smoothness(flow).item() == pytest.approx(3 / 5 / 2)
    assert flow_smoothness(flow, order=2).item() == pytest.approx(1 / 4 / 2)
    assert flow_smoothness(flow.transpose(-1, -2)).item() == pytest.approx(3 / 5 / 2)


def test_an_affine_flow_costs_nothing_in_second_order():
    x, y = torch.arange(6.0), torch.arange(4.0)[:, None]
    flow = torch.stack([0.3 * x - 0.2 * y, 1 + 0.1 * x + 0.5 * y])[None]

    assert flow_smoothness(flow, order=2).item() == pytest.approx(0, abs=1e-6)
    assert flow_smoothness(flow).item() > 0.2


@pytest.mark.parametrize("order", [1, 2])
def test_an_edge_of_the_picture_forgives_a_step_there_and_nowhere_else(order):
    flow = along_x(0, 0, 0, 1, 1, 1)
    there, elsewhere = torch.zeros(2, 1, 3, 4, 6)
    there[..., 3:], elsewhere[..., 5:] = 0.2, 0.2
    plain = flow_smoothness(flow, order=order).item()

    assert flow_smoothness(flow, order=order, image=there).item() == pytest.approx(plain * math.exp(-2), rel=1e-5)
    assert flow_smoothness(flow, order=order, image=elsewhere).item() == pytest.approx(plain, rel=1e-5)


def test_between_two_segments_a_step_counts_little():
    flow = along_x(0, 0, 0, 1, 1, 2)
    segments = torch.tensor([7, 7, 7, 2, 2, 2]).expand(1, 1, 4, 6)

    # Steps 0 0 1 0 1, the first 1 between the segments; bends 0 1 -1 1, of which the first 1 and the -1 reach over.
    assert flow_smoothness(flow, segments=segments, across=0.05).item() == pytest.approx((0.05 + 1) / 5 / 2)
    assert flow_smoothness(flow, order=2, segments=segments, across=0.05).item() == pytest.approx((0.1 + 1) / 4 / 2)


def test_consistency_is_the_distance_between_start_and_end():
    there = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6)

    assert flow_consistency(there, -there, EVERYWHERE).item() == pytest.approx(0, abs=1e-6)
    assert flow_consistency(there, 2 * there, EVERYWHERE).item() == pytest.approx(3, rel=1e-3)


def test_the_way_back_is_read_where_the_flow_leads():
    forward, backward = torch.zeros(2, 1, 2, 4, 6)
    forward[:, 0, :, 0] = 2.0  # from column 0 to column 2
    backward[:, 0, :, 2] = -2.0
    first_column = EVERYWHERE & (torch.arange(6) == 0)

    assert flow_consistency(forward, backward, first_column).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("loss", "other"), [(flow_consistency, 1.0), (flow_distance, math.nan)])
def test_an_empty_mask_gives_zero_with_a_gradient_of_zero(loss, other):
    flow = torch.rand(1, 2, 4, 6, requires_grad=True)

    value = loss(flow, torch.full((1, 2, 4, 6), other), ~EVERYWHERE)
    value.backward()

    assert value.item() == 0 and flow.grad.abs().sum() == 0


@pytest.mark.parametrize("loss", [flow_consistency, flow_distance])
def test_at_no_distance_the_gradient_is_finite(loss):
    flow = torch.zeros(1, 2, 4, 6, requires_grad=True)
    loss(flow, torch.zeros(1, 2, 4, 6), EVERYWHERE).backward()
    assert flow.grad.abs().sum() == 0


def test_the_teacher_gets_no_gradient_and_is_not_read_outside_the_mask():
    flow = torch.zeros(1, 2, 4, 6, requires_grad=True)
    teacher = torch.full((1, 2, 4, 6), 3.0)
    teacher[..., 5] = math.nan
    teacher.requires_grad_()

    value = flow_distance(flow, teacher, EVERYWHERE & (torch.arange(6) < 5))
    value.backward()

    assert value.item() == pytest.approx(3 * math.sqrt(2), rel=1e-3)
    assert teacher.grad is None and flow.grad[..., :5].abs().min() > 0 and flow.grad[..., 5].abs().sum() == 0


def test_half_precision_flows_give_a_loss_in_full():
    flow = 100 * torch.rand(1, 2, 4, 6, dtype=torch.float16)  # 100 px squared and summed is more than float16 holds

    for value in (
        flow_smoothness(flow),
        flow_consistency(flow, flow, EVERYWHERE),
        flow_distance(-flow, flow, EVERYWHERE),
    ):
        assert value.dtype == torch.float32 and value.isfinite()


def test_what_a_user_can_get_wrong_is_named():
    with pytest.raises(ValueError, match="order is 3; it can be 1 or 2"):
        flow_smoothness(along_x(0, 1), order=3)
    with pytest.raises(ValueError, match="too small for differences of order 2"):
        flow_smoothness(along_x(0, 1), order=2)
