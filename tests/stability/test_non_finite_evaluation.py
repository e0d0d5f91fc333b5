import math

from ignition.stability import Doctor


def evaluation(epoch, loss, epe=1.0):
    return {"iteration": 10 * epoch, "epoch": epoch, "val/loss": loss, "val/epe": epe, "val/odd": math.nan}


def test_an_evaluation_that_measures_nan_is_told_once_and_when_it_is_over():
    doctor = Doctor(metric="val/epe")
    rows = [evaluation(1, 2.0), evaluation(2, "NaN"), evaluation(3, math.nan), evaluation(4, 2.0), evaluation(5, 2.0)]
    found = [(finding.name, finding.last, finding.subject) for row in rows for finding in doctor.read(row)]
    assert found == [("non_finite_evaluation", 20, "val/loss"), ("recovered", 40, "non_finite_evaluation")]


def test_so_is_the_metric_that_matters_and_no_other():
    doctor = Doctor(metric="val/epe")
    (finding,) = doctor.read(evaluation(1, 2.0, epe=math.inf))
    assert finding.message == "val/epe is inf at iteration 10"


def test_it_is_not_told_again_after_a_resume():
    doctor, resumed = Doctor(), Doctor()
    doctor.read(evaluation(1, math.nan))
    resumed.load_state_dict(doctor.state_dict())
    assert resumed.read(evaluation(2, math.nan)) == []
