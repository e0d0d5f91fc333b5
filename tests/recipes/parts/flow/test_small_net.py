"""The small flow network: sizes, what it sees before it has learned anything, and that it can learn."""

import math

import pytest
import torch

from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from recipes.parts.flow.raft import RaftFlow
from recipes.parts.flow.small_net import FlowNet, best_match
from recipes.parts.flow.whole_image import padded_flow


def test_its_size_is_what_its_page_says():
    assert sum(parameter.numel() for parameter in FlowNet().parameters()) == 242_699


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (96, 64)])
def test_one_flow_of_the_size_of_the_frames(size):
    first, second = torch.rand(2, 2, 3, *size)

    flows = FlowNet()(first, second)

    assert len(flows) == 1 and flows[0].shape == (2, 2, *size) and flows[0].dtype == torch.float32


def test_batched_equals_single():
    torch.manual_seed(0)
    model, wide = FlowNet().eval(), torch.nn.functional.interpolate(torch.rand(3, 3, 18, 18), (72, 72), mode="bilinear")
    first, second = wide[..., :64, 3:67], wide[..., 2:66, :64]
    with torch.no_grad():
        together = model(first, second)[-1]
        alone = torch.cat([model(first[k : k + 1], second[k : k + 1])[-1] for k in range(3)])
    assert torch.allclose(together, alone, atol=1e-3)


def test_every_parameter_gets_a_gradient_and_frames_of_one_colour_do_no_harm():
    model = FlowNet()
    frames = torch.cat([torch.rand(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)])

    model(frames, frames.flip(-1))[-1].square().mean().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_before_it_has_learned_anything_it_is_far_better_than_no_flow():
    torch.manual_seed(0)
    clips = ProceduralCartoons(8, seed=2, max_speed=10.0, fixed=True)
    frames, truth, seen = (torch.stack([clips[k][name] for k in range(8)]) for name in ("frames", "flow", "visible"))

    with torch.no_grad():
        flow = FlowNet()(frames[:, 0], frames[:, 1])[-1]

    def error(flow):
        return (flow - truth[:, 0]).norm(dim=1)[seen[:, 0, 0]].mean().item()

    assert error(flow) < 0.33 * error(0)  # 0.26 when this was written


def test_more_levels_find_faster_motions_with_the_same_weights():
    torch.manual_seed(0)
    few, many = FlowNet(levels=3), FlowNet(levels=5)
    many.load_state_dict(few.state_dict())
    wide = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 48), scale_factor=4.0, mode="bilinear")
    first, second = wide[..., :96, 24:152], wide[..., :96, :128]  # 24 px to the right; three levels reach 14
    with torch.no_grad():
        short, far = (model(first, second)[-1][0, 0, 24:72, 40:80] for model in (few, many))
    assert (far - 24).abs().median() < 0.5 < 5 < (short - 24).abs().median()


def test_the_best_match_is_where_the_scores_say_and_nowhere_if_they_say_nothing():
    scores = torch.zeros(1, 25, 1, 2)
    scores[0, (-1 + 2) * 5 + (2 + 2), 0, 0] = 100.0  # one up, two to the right

    step, variance = best_match(scores, reach=2)

    assert step.permute(0, 2, 3, 1).flatten(0, 2).tolist() == [[2, -1], [0, 0]]
    assert variance.flatten().tolist() == pytest.approx([0.0, 4.0])  # of 25 places, |d|^2 is 4 in the mean


def test_of_two_equal_matches_the_nearer_one_counts_more():
    scores = torch.zeros(1, 25, 1, 1)
    scores[0, 2 * 5 + 3], scores[0, 2 * 5 + 0] = 100.0, 100.0  # one to the right, two to the left

    blind = best_match(scores, reach=2)[0].flatten()[0].item()
    careful = best_match(scores, reach=2, caution=1.0)[0].flatten()[0].item()

    assert blind == pytest.approx((1 - 2) / 2)
    near = 1 / (1 + math.exp(-3))  # |d|^2 is 1 and 4
    assert careful == pytest.approx(near * 1 - (1 - near) * 2, abs=1e-4)


def test_it_learns_what_the_pictures_do_not_show():
    torch.manual_seed(0)
    model = FlowNet(levels=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    blank, truth = torch.full((1, 3, 32, 32), 0.5), torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)
    losses = []
    for _ in range(60):
        losses.append((model(blank, blank)[-1] - truth).abs().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[0].item() == pytest.approx(2.5, abs=0.1) and losses[-1].item() < 0.2


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
        assert torch.equal(padded_flow(model, *frames, stride=8, smallest=32)[-1], model(*frames)[-1])
        assert padded_flow(model, *torch.rand(2, 1, 3, 45, 70), stride=8, smallest=32)[-1].shape == (1, 2, 45, 70)
        raft, small = RaftFlow(updates=1).eval(), torch.rand(2, 1, 3, 45, 70)
        assert padded_flow(raft, *small, stride=8, smallest=128)[-1].shape == (1, 2, 45, 70)


def test_what_a_user_can_get_wrong_is_named():
    with pytest.raises(ValueError, match="frames are 60 x 64 px; pad them to multiples of 8"):
        FlowNet()(*torch.zeros(2, 1, 3, 60, 64))
    with pytest.raises(ValueError, match=r"both must be the same \[B,3,H,W\]"):
        FlowNet()(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 96))
    with pytest.raises(ValueError, match="RAFT needs at least 128 px a side"):
        RaftFlow()(*torch.zeros(2, 1, 3, 64, 128))
    with pytest.raises(ValueError, match="size is 'huge'; it can be 'small' or 'large'"):
        RaftFlow("huge")
    with pytest.raises(ValueError, match="levels is 0"):
        FlowNet(levels=0)
