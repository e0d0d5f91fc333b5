import csv
import math

import torch
from torch import nn

from ignition.incidents.layers import norms_of, sizes, write_csv


def test_the_table_has_weights_moments_and_faults(tmp_path):
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -4.0]]))
        model.bias.fill_(math.nan)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    assert sizes(model, optimizer)["weight"] == {"elements": 2, "weight": 5.0, "largest": 4.0, "not_finite": 0.0}
    model.weight.grad = torch.tensor([[6.0, 8.0]])
    model.bias.grad = torch.zeros(1)
    optimizer.step()
    found = sizes(model, optimizer)
    assert found["weight"]["exp_avg"] == torch.tensor(1.0).item()  # a tenth of the gradient, whose norm is 10
    assert found["bias"]["not_finite"] == 1 and math.isnan(found["bias"]["weight"])

    measured = {"iteration": 40, "layers": {"weight": {"gradient": 10.0, "update": 0.25}}}
    write_csv(tmp_path / "layers.csv", found, 50, measured)
    weight, bias = csv.DictReader((tmp_path / "layers.csv").read_text().splitlines())
    assert (weight["parameter"], weight["elements"], weight["not_finite@50"]) == ("weight", "2", "0")
    assert (weight["gradient@40"], weight["update@40"], weight["exp_avg@50"]) == ("10", "0.25", "1")
    assert (bias["weight@50"], bias["gradient@40"]) == ("nan", "")


def test_without_a_measured_row_or_moments_the_columns_are_empty_or_absent(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    write_csv(tmp_path / "layers.csv", sizes(model, torch.optim.SGD(model.parameters(), lr=0.1)), 7)
    (row,) = csv.DictReader((tmp_path / "layers.csv").read_text().splitlines())
    assert row["exp_avg@7"] == ""
    assert not any(name.startswith("gradient") for name in row)


def test_norms_of_all_kinds_of_tensors():
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 0]]), torch.tensor([1.0, 2.0]), (3,), check_invariants=True)
    found = norms_of({"half": torch.tensor([300.0, 400.0], dtype=torch.float16), "sparse": sparse,
                      "complex": torch.tensor([3 + 4j]), "empty": torch.ones(0)})  # fmt: skip
    assert found == {"half": 500.0, "sparse": 3.0, "complex": 5.0, "empty": 0.0}
    assert norms_of({}) == {}
