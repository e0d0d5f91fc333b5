"""What is due when."""

from ignition.timetable import Timetable


def due(filter_, last):
    return [number for number in range(1, last + 1) if filter_(None, number)]


def test_the_last_epoch_is_evaluated_and_saved_whatever_the_rhythm():
    table = Timetable(epochs=5, epoch_length=4, evaluate_every=2, save_every_epochs=3)
    assert due(table.evaluation, 5) == [2, 4, 5]
    assert due(table.epoch_save, 5) == [3, 5]
    assert due(table.iteration_save, 20) == []


def test_a_save_that_falls_on_an_epoch_s_last_iteration_waits_for_the_evaluation():
    table = Timetable(epochs=3, epoch_length=4, save_every_epochs=9, save_every=2)
    assert due(table.iteration_save, 12) == [2, 6, 10]
    assert due(table.epoch_save, 3) == [1, 2, 3]


def test_a_rhythm_that_does_not_divide_the_epoch_is_not_moved():
    table = Timetable(epochs=3, epoch_length=4, save_every_epochs=9, save_every=3)
    assert due(table.iteration_save, 12) == [3, 6, 9]
    assert due(table.epoch_save, 3) == [3]
