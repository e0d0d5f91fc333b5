"""Errors as colours: which colour says what."""

import torch

from recipes.parts.error_map import UNKNOWN, error_map


def row(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_right_is_dark_blue_wrong_is_orange_and_12_px_or_nan_as_red_as_it_gets():
    prediction = row(0, 1, 3, 6, 12, 50, torch.nan)

    colours = error_map(prediction, row(*[0] * 7), torch.ones(1, 1, 1, 7, dtype=torch.bool))[0, :, 0].T

    redness = (colours[:, 0] - colours[:, 2]).tolist()
    assert redness[0] < 0 and redness[1] < 0 < redness[2] < redness[3] and colours[0].max() < 0.25
    assert torch.allclose(colours[2], torch.tensor([0.95, 0.95, 0.75]))
    assert torch.allclose(colours[4], colours[5]) and torch.allclose(colours[4], colours[6])


def test_unknown_is_grey():
    known = torch.tensor([[[[True, False, True]]]])

    errors = error_map(row(5, 5, 5), row(5, torch.nan, 5), known)

    assert (errors[..., 1] == UNKNOWN).all() and errors.isfinite().all()
