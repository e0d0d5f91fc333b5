"""Data sets that are drawn: fixed ones never change, others follow torch's generator."""

import pytest
import torch

from recipes.parts.drawn import DrawnDataset


class Numbers(DrawnDataset):
    def draw(self, generator):
        return {"number": torch.as_tensor(generator.random())}


def numbers(data):
    return [float(data[index]["number"]) for index in range(len(data))]


def test_a_fixed_set_is_a_function_of_seed_and_index():
    assert numbers(Numbers(3, seed=5, fixed=True)) == numbers(Numbers(3, seed=5, fixed=True))
    assert len({*numbers(Numbers(9, seed=5, fixed=True)), *numbers(Numbers(9, seed=6, fixed=True))}) == 18


def test_sets_of_another_kind_share_no_numbers():
    assert not set(numbers(Numbers(9, fixed=True))) & set(numbers(Numbers(9, fixed=True, kind=1)))


def test_another_set_follows_torchs_generator():
    data = Numbers(2)
    torch.manual_seed(0)
    first = numbers(data)
    assert numbers(data) != first
    torch.manual_seed(0)
    assert numbers(data) == first


def test_there_is_no_sample_past_the_end():
    assert len(list(Numbers(2, fixed=True))) == 2
    with pytest.raises(IndexError, match="sample 2 of 2"):
        Numbers(2)[2]
