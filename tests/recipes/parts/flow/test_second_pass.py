"""The harder view: its flow is the teacher's, and its pictures are harder."""

import pytest
import torch

from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from recipes.parts.flow.second_pass import HarderView
from recipes.parts.warping import warp


def make_pair(count=4):
    data = ProceduralCartoons(count, size=(48, 64), fixed=True)
    samples = [data[index] for index in range(count)]
    frames, flow, visible = (torch.stack([s[name] for s in samples]) for name in ("frames", "flow", "visible"))
    return frames[:, 0], frames[:, 1], flow[:, 0], visible[:, 0]


@pytest.mark.parametrize("seed", range(4))
def test_the_teachers_flow_is_right_in_the_window(seed):
    torch.manual_seed(seed)

    harder = HarderView(jitter=0.0, noise=0.0, erase=0.0)(*make_pair())

    difference = (warp(harder.second, harder.flow) - harder.first).abs().mean(1, keepdim=True)
    x = torch.arange(64) + harder.flow[:, :1]
    y = torch.arange(48)[:, None] + harder.flow[:, 1:]
    inside = harder.mask & (x > 0) & (x < 63) & (y > 0) & (y < 47)
    assert difference[inside].mean() < 0.03
    wrong = (warp(harder.second, harder.flow + 2) - harder.first).abs().mean(1, keepdim=True)
    assert wrong[inside].mean() > 2 * difference[inside].mean()


def test_the_whole_window_unchanged_is_the_pair_itself():
    pair = make_pair()
    harder = HarderView(smallest=1.0, jitter=0.0, noise=0.0, erase=0.0)(*pair)
    assert all(torch.equal(new, old) for new, old in zip(harder, pair))


def test_frames_change_each_by_itself_and_lose_patches():
    torch.manual_seed(0)
    first, _, flow, mask = make_pair()

    coloured = HarderView(smallest=1.0, erase=0.0)(first, first, flow, mask)
    erased = HarderView(smallest=1.0, jitter=0.0, noise=0.0, erase=1.0)(first, first, flow, mask)

    assert (coloured.first - coloured.second).abs().mean() > 0.02
    assert coloured.first.min() >= 0 and coloured.first.max() <= 1
    lost = (erased.second != erased.first).any(1).float().mean(dim=(1, 2))
    assert torch.equal(erased.first, first) and lost.min() > 0.01 and lost.max() < 0.12


def test_no_gradient_reaches_the_teacher_and_the_batch_is_untouched():
    first, second, flow, mask = make_pair()
    kept = first.clone()

    harder = HarderView()(first, second, flow.requires_grad_(), mask)

    assert not harder.flow.requires_grad and torch.equal(first, kept)


def test_a_window_must_be_a_share():
    with pytest.raises(ValueError, match="smallest is 1.5"):
        HarderView(smallest=1.5)
