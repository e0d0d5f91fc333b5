"""The small flow network: sizes, costs, upsampling, and that it can learn a motion."""

import math

import pytest
import torch

from recipes.parts.flow_net import FlowNet, best_match, local_correlation, upsample_flow
from recipes.parts.raft_flow import RaftFlow
from recipes.parts.whole_image_flow import padded_flow


def test_its_size_is_what_its_page_says():
    assert sum(parameter.numel() for parameter in FlowNet().parameters()) == 344_788


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (96, 64)])
def test_one_flow_of_the_size_of_the_frames(size):
    first, second = torch.rand(2, 2, 3, *size)

    flows = FlowNet()(first, second)

    assert len(flows) == 1 and flows[0].shape == (2, 2, *size) and flows[0].dtype == torch.float32


def test_batched_equals_single():
    torch.manual_seed(0)
    model, (first, second) = FlowNet().eval(), torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        together = model(first, second)[-1]
        alone = torch.cat([model(first[k : k + 1], second[k : k + 1])[-1] for k in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_every_parameter_gets_a_gradient_and_frames_of_one_colour_do_no_harm():
    model = FlowNet()
    frames = torch.cat([torch.rand(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)])

    model(frames, frames.flip(-1))[-1].square().mean().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_a_motion_is_seen_in_the_costs_where_it_leads():
    torch.manual_seed(0)
    first = torch.randn(1, 16, 12, 12)
    second = first.roll((1, -2), dims=(-2, -1))  # one down, two to the left

    costs = local_correlation(first, second, reach=3)[..., 4:8, 4:8]

    assert costs.shape[1] == 49
    assert (costs.argmax(dim=1) == (1 + 3) * 7 + (-2 + 3)).all() and costs.max() == pytest.approx(1.0, abs=1e-4)


def test_half_precision_costs_are_finite_for_large_and_for_empty_features():
    features = torch.cat([torch.full((1, 8, 4, 4), 6e4), torch.zeros(1, 8, 4, 4)]).half()
    costs = local_correlation(features, features, reach=1)
    assert costs.dtype == torch.float16 and costs.isfinite().all() and costs[0, 4].min() > 0.99


def test_the_best_match_is_where_the_costs_say_and_nowhere_if_they_say_nothing():
    costs = torch.zeros(1, 25, 1, 2)
    costs[0, (-1 + 2) * 5 + (2 + 2), 0, 0] = 1.0  # one up, two to the right

    assert best_match(costs, reach=2, sharpness=100.0).permute(0, 2, 3, 1).flatten(0, 2).tolist() == [[2, -1], [0, 0]]


def test_of_two_equal_matches_the_nearer_one_counts_more():
    costs = torch.zeros(1, 25, 1, 1)
    costs[0, 2 * 5 + 3], costs[0, 2 * 5 + 0] = 1.0, 1.0  # one to the right, two to the left

    blind = best_match(costs, reach=2, sharpness=100.0).flatten()[0].item()
    careful = best_match(costs, reach=2, sharpness=100.0, caution=1.0).flatten()[0].item()

    assert blind == pytest.approx((1 - 2) / 2)
    near = 1 / (1 + math.exp(-3))  # |d|^2 is 1 and 4
    assert careful == pytest.approx(near * 1 - (1 - near) * 2, abs=1e-4)


def test_upsampling_takes_the_one_neighbour_that_it_is_told_to():
    flow = torch.arange(12.0).view(1, 2, 2, 3)
    weights = torch.full((1, 9, 16, 2, 3), -100.0)
    weights[:, 5] = 100.0  # the neighbour to the right; at the border it is the pixel itself

    up = upsample_flow(flow, weights.flatten(1, 2))

    assert up.shape == (1, 2, 8, 12)
    assert up[0, 0, 0].tolist() == [1.0] * 4 + [2.0] * 8


def test_it_learns_a_shift_within_seconds():
    torch.manual_seed(0)
    model = FlowNet(width=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    truth = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)
    for _ in range(60):
        wide = torch.nn.functional.interpolate(torch.rand(2, 3, 18, 18), (36, 36), mode="bilinear")
        first, second = wide[..., :32, 3:35], wide[..., 2:34, :32]  # what stands at x stands at x + 3, y - 2
        loss = (model(first, second)[-1] - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7


@pytest.mark.parametrize("size", ["small", "large"])
def test_raft_has_torchvisions_parameters_and_our_convention(size):
    torch.manual_seed(0)
    model = RaftFlow(size, updates=2)
    first, second = torch.rand(2, 1, 3, 128, 136)
    counts = {"small": 990_162, "large": 5_257_536}

    assert sum(parameter.numel() for parameter in model.parameters()) == counts[size]
    flows = model.train()(first, second)
    assert [tuple(flow.shape) for flow in flows] == [(1, 2, 128, 136)] * 2
    with torch.inference_mode():
        assert len(model.eval()(first, second)) == 1


def test_frames_of_any_size_are_padded_and_cut_back():
    torch.manual_seed(0)
    model = FlowNet().eval()
    frames = torch.rand(2, 1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(padded_flow(model, *frames, stride=16, smallest=32)[-1], model(*frames)[-1])
        assert padded_flow(model, *torch.rand(2, 1, 3, 45, 70), stride=16, smallest=32)[-1].shape == (1, 2, 45, 70)
        raft, small = RaftFlow(updates=1).eval(), torch.rand(2, 1, 3, 45, 70)
        assert padded_flow(raft, *small, stride=8, smallest=128)[-1].shape == (1, 2, 45, 70)


def test_what_a_user_can_get_wrong_is_named():
    with pytest.raises(ValueError, match="frames are 60 x 64 px; pad them to multiples of 16"):
        FlowNet()(*torch.zeros(2, 1, 3, 60, 64))
    with pytest.raises(ValueError, match=r"both must be the same \[B,3,H,W\]"):
        FlowNet()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 96))
    with pytest.raises(ValueError, match="RAFT needs at least 128 px a side"):
        RaftFlow()(*torch.zeros(2, 1, 3, 64, 128))
    with pytest.raises(ValueError, match="size is 'huge'; it can be 'small' or 'large'"):
        RaftFlow("huge")
    with pytest.raises(ValueError, match="width is 12"):
        FlowNet(width=12)
    with pytest.raises(ValueError, match="reach is 0"):
        FlowNet(reach=0)
