"""Pictures of other colours, and which factor does what."""

import pytest
import torch

from recipes.parts.colour_jitter import ColourJitter


def test_the_samples_of_a_batch_change_differently():
    torch.manual_seed(0)
    same = torch.rand(1, 3, 8, 8).expand(4, -1, -1, -1)

    changed = ColourJitter(jitter=0.3, gamma=0.2)(same)

    assert len({round(sample.mean().item(), 4) for sample in changed}) == 4


def test_each_factor_does_what_its_name_says():
    jitter, image = ColourJitter(jitter=0.3, gamma=0.2), torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)

    def changed(**factors):
        params = jitter.forward_parameters(torch.Size(image.shape))
        params.update({name: torch.tensor([factors.get(name, 1.0)]) for name in ColourJitter.FACTORS})
        return jitter(image, params=params).flatten().tolist()

    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    assert changed() == pytest.approx([0.2, 0.4, 0.6])
    assert changed(brightness=1.5) == pytest.approx([0.3, 0.6, 0.9])
    assert changed(contrast=0.5) == pytest.approx([0.35, 0.45, 0.55])
    assert changed(saturation=0.0) == pytest.approx([grey] * 3)
    assert changed(gamma=2.0) == pytest.approx([0.04, 0.16, 0.36])
