import numpy as np

from ignition.monitor.rows import columns, rows_of


def test_lines_that_hold_no_object_are_counted():
    text = b'{"iteration": 1}\n{"iter{"iteration": 2}\n\n[1]\n"word"\n\xff\xfe\n{"iteration": 3, "a": -Infinity}\n'
    rows, bad = rows_of(text)
    assert rows == [{"iteration": 1}, {"iteration": 3, "a": float("-inf")}]
    assert bad == 4


def test_rows_of_several_kinds_become_columns_in_their_order():
    rows = [
        {"time": 10.0, "iteration": 1, "epoch": 1, "loss": 3.0},
        {"time": 11.0, "iteration": 2, "epoch": 1, "loss": 2, "norm": 5.0},
        {"iteration": 2, "val": "Infinity", "loss": None},
        {"time": 12.0, "iteration": 3, "epoch": 1, "loss": "NaN", "flag": True, "nested": {"a": 1}},
    ]
    taken, without = columns(rows)
    assert without == 0
    np.testing.assert_array_equal(taken.iterations, [1, 2, 2, 3])
    np.testing.assert_array_equal(taken.times, [10, 11, np.nan, 12])
    assert set(taken.values) == {"loss", "norm", "val"}
    at, numbers = taken.values["loss"]
    np.testing.assert_array_equal(at, [0, 1, 3])
    np.testing.assert_array_equal(numbers, [3, 2, np.nan])
    assert taken.values["val"][1] == np.inf


def test_rows_without_a_usable_iteration_are_left_out_and_counted():
    rows = [{"loss": 1.0}, {"iteration": -1, "loss": 2.0}, {"iteration": 10**400, "loss": 3.0},
            {"iteration": "NaN", "loss": 4.0}, {"iteration": 7, "loss": 5.0, "huge": 10**400}]  # fmt: skip
    taken, without = columns(rows)
    assert without == 4
    assert taken.iterations.tolist() == [7]
    assert [column.tolist() for column in taken.values["loss"]] == [[0], [5.0]]
    assert "huge" not in taken.values or len(taken.values["huge"][1]) == 0
