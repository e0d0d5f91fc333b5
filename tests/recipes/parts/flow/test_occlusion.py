"""What two flows say about occlusion, beside what the layers of a cartoon say."""

import torch

from recipes.parts.flow.occlusion import leads_inside, most_or_all, seen_in_both
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons


def constant(u, v, height=6, width=8):
    return torch.tensor([u, v], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_a_flow_leads_out_by_any_of_the_four_sides():
    assert leads_inside(constant(0, 0)).all()
    assert leads_inside(constant(3, 0)).sum() == 5 * 6 and leads_inside(constant(-3, 0)).sum() == 5 * 6
    assert leads_inside(constant(0, 2)).sum() == 4 * 8 and leads_inside(constant(0.5, -2)).sum() == 4 * 7


def test_there_and_back_must_meet_within_half_a_pixel_and_a_hundredth_of_the_way():
    # |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5: with f = 1 and b = -1 - e, e = 0.7 passes and e = 0.8 does not.
    assert seen_in_both(constant(1, 0), constant(-1.7, 0))[..., :7].all()
    assert not seen_in_both(constant(1, 0), constant(-1.8, 0)).any()
    # A long way forgives more: with f = 5, e = 0.95 passes (0.9025 < 0.01 (25 + 35.4) + 0.5).
    assert seen_in_both(constant(5, 0), constant(-5.95, 0))[..., :3].all()


def test_no_gradient_passes():
    flow = constant(1, 0).clone().requires_grad_()
    assert not seen_in_both(flow, -flow).requires_grad


def test_half_precision_flows_are_compared_in_full():
    flow = constant(300, 0, width=400).half()
    assert seen_in_both(flow, -flow)[..., :100].all()


def test_the_true_flows_of_a_cartoon_find_what_its_layers_hide():
    # Filmed forwards and backwards: the reverse of a clip of two frames has the backward flow.
    found, true = [], []
    for index in range(12):
        clip = ProceduralCartoons(12, size=(48, 64), frames=2, fixed=True, max_speed=6.0)[index]
        flow, occluded = clip["flow"], clip["occluded"]
        first, second = clip["segments"]
        backward = torch.zeros_like(flow)
        for number in first.unique():  # each segment moves by one map: carry it to where the segment is in frame 2
            inside = (first == number)[0]
            mean = flow[0, :, inside].mean(dim=1)
            backward[0, :, (second == number)[0]] = -mean[:, None]
        found.append(~seen_in_both(flow, backward, slack=1.5))
        true.append(occluded)
    found, true = torch.cat(found), torch.cat(true)
    assert found[true].float().mean() > 0.6  # what is hidden behind something that moves alike cannot be found
    assert (found == true).float().mean() > 0.85


def test_each_sample_that_agrees_with_itself_nearly_nowhere_is_judged_everywhere():
    seen = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    seen[0, ..., :2], seen[1, ..., :1] = True, True  # a half, a quarter
    inside = torch.ones_like(seen)
    inside[..., 3] = False

    judged = most_or_all(seen, inside)

    assert torch.equal(judged[0], seen[0]) and torch.equal(judged[1], inside[1])
