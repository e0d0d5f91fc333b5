"""Samples in a batch of any make."""

import torch

from ignition.data import count_samples


def test_samples_are_counted_in_any_nesting():
    assert count_samples([{"a": "text"}, {"b": (torch.zeros(3, 2),)}]) == 3
    assert count_samples({"names": ["a", "b"]}) == 0
