"""Words for tensors: equal where all bits are."""

import numpy as np
import pytest
import torch
from torch import nn

from ignition.exact_resume.digest import digest, of_batch, of_generators, of_model, of_optimizer

ONE = torch.tensor([1.0, 2.0])


@pytest.mark.parametrize("other", [
    torch.tensor([1.0, torch.nextafter(torch.tensor(2.0), torch.tensor(3.0))]),  # the last bit
    torch.tensor([1.0, 2.0], dtype=torch.float64),
    torch.tensor([[1.0, 2.0]]),
    torch.tensor([1.0]),
    np.array([1.0, 2.0], dtype=np.float64),
])  # fmt: skip
def test_another_bit_type_or_shape_is_another_word(other):
    assert digest(other) != digest(ONE)


@pytest.mark.parametrize("same", [
    torch.tensor([1.0, 0.0, 2.0])[::2],  # strides
    nn.Parameter(ONE.clone()),
])  # fmt: skip
def test_the_layout_in_memory_is_none(same):
    assert digest(same) == digest(ONE)


@pytest.mark.parametrize("value", [
    torch.zeros(0, 3), torch.tensor(3), torch.tensor([True]), torch.zeros(2, dtype=torch.bfloat16),
    torch.zeros(2, dtype=torch.complex64).conj(), torch.zeros(1, 2).expand(3, 2), None, 1.5, "text", (1, 2),
])  # fmt: skip
def test_anything_has_one(value):
    assert digest(value) == digest(value)
    assert len(digest(value)) == 16


def test_a_batch_goes_by_its_samples():
    one, other = (of_batch({"x": x, "boxes": [x, x[:1]], "scale": 2.0}) for x in (torch.zeros(2, 3), torch.eye(2, 3)))
    assert [len(one[name]) for name in ("x", "boxes[0]", "boxes[1]", "scale")] == [2, 2, 1, 1]
    assert [name for name in one if one[name] != other[name]] == ["x", "boxes[0]", "boxes[1]"]
    x = torch.zeros(2, 3)
    x[1] = 1.0
    assert [mine == his for mine, his in zip(of_batch(x)["batch"], one["x"])] == [True, False]


def test_buffers_that_are_not_saved_count_as_well():
    model = nn.Linear(1, 1)
    model.register_buffer("hidden", torch.zeros(1), persistent=False)
    before = of_model(model)
    model.hidden += 1
    assert [name for name, word in of_model(model).items() if before[name] != word] == ["hidden"]


def test_what_an_optimizer_keeps_is_named_by_its_parameter():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    assert of_optimizer(optimizer, model) == {}
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert "exp_avg_sq of weight" in of_optimizer(optimizer, model)


def test_drawing_changes_the_word_of_that_generator_alone():
    before = of_generators()
    np.random.rand()
    assert [name for name, word in of_generators().items() if before[name] != word] == ["numpy.random"]
