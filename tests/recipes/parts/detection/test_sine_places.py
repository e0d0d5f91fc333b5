import math

import pytest
import torch

from recipes.parts.detection.sine_places import place_code, sines


def test_the_first_wave_is_the_value_itself():
    sine, cosine, *_ = sines(torch.tensor(0.5), 8).tolist()
    assert (sine, cosine) == pytest.approx((math.sin(0.5), math.cos(0.5)))


def test_codes_of_places_do_not_depend_on_padding():
    small, large = torch.zeros(1, 4, 6, dtype=torch.bool), torch.zeros(1, 9, 8, dtype=torch.bool)
    small[:, :3, :5] = large[:, :3, :5] = True
    first, second = place_code(small, 16), place_code(large, 16)
    assert torch.equal(first[..., :3, :5], second[..., :3, :5])
    # the last row stands at 2 pi, whatever the size
    assert first[0, 0, 2, 0].item() == pytest.approx(math.sin(2 * math.pi), abs=1e-5)


def test_no_two_places_have_one_code():
    codes = place_code(torch.ones(1, 12, 10, dtype=torch.bool), 32).flatten(2)[0].T
    assert torch.cdist(codes, codes).fill_diagonal_(1).min() > 0.1
