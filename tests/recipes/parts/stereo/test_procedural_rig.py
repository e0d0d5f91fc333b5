"""Pairs that were rectified on their way."""

import pytest
import torch

from recipes.parts.stereo.procedural_rig import ProceduralRig
from recipes.parts.stereo.unrectified_pair import unrectified_pair
from recipes.parts.warping import warp_disparity

SIZE = (96, 128)


def rig(**keywords):
    return ProceduralRig(4, size=SIZE, max_disparity=20.0, fixed=True, **keywords)


def photometric(left, right, disparity, mask):
    warped = warp_disparity(right[None], disparity[None])[0]
    return float((warped - left).abs().mean(0, keepdim=True)[mask].median()) * 255


@pytest.mark.parametrize("index", range(4))
def test_the_truth_matches_the_rectified_pair_and_not_the_raw_one(index):
    pair = rig()[index]
    raw = unrectified_pair(size=SIZE, max_disparity=20.0, seed=index)
    rectified = photometric(pair["left"], pair["right"], pair["disparity"], pair["visible"])
    unrectified = photometric(raw.left, raw.right, pair["disparity"], pair["visible"])
    assert rectified < 6.0  # 8-bit units, after two resamplings
    assert rectified < 0.5 * unrectified


def test_what_no_camera_saw_is_not_valid():
    pair = rig(turn_degrees=4.0)[0]
    share = float(pair["valid"].float().mean())
    assert 0.5 < share <= 1.0
    assert torch.all(pair["disparity"][~pair["valid"]] == 0)
    assert not torch.any(pair["visible"] & ~pair["valid"])


def test_a_fixed_sample_is_always_the_same_and_others_follow_the_global_generator():
    assert torch.equal(rig()[2]["left"], rig()[2]["left"])
    loose = ProceduralRig(1, size=SIZE, max_disparity=20.0)
    torch.manual_seed(1)
    first, second = loose[0]["left"], loose[0]["left"]
    torch.manual_seed(1)
    assert torch.equal(loose[0]["left"], first)
    assert not torch.equal(first, second)
