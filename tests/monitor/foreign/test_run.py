import json
import os

import pytest

from ignition.monitor import NoRun, Watched, open_run


@pytest.fixture
def table(tmp_path):
    return tmp_path / "log.csv"


def losses(run, name="train/batch_loss"):
    return [(point.iteration, point.mean) for point in run.curves.points(name)]


def opened(path, **names):
    run = open_run(path, names)
    run.update(None)
    return run


def test_a_table_of_epochs(table):
    table.write_text("epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1.0,0.4,1.1\n1,0.6,0.8,0.5,nan\n")
    run = opened(table)
    assert losses(run, "train/epoch_avg_loss") == [(0, 1.0), (1, 0.8)]
    assert losses(run, "val/accuracy") == [(0, 0.4), (1, 0.5)]
    assert run.notes[0] == "counted by epochs"
    assert [finding.name for finding in run.findings] == ["non_finite_evaluation"]


def test_semicolons_a_byte_order_mark_and_no_column_of_steps(table):
    table.write_bytes("\ufeffLoss;Grad Norm\n3.0;1.0\n2.0;\n".encode())
    run = opened(table)
    assert losses(run) == [(1, 3.0), (2, 2.0)]
    assert losses(run, "train/gradient_norm") == [(1, 1.0)]
    assert run.notes[0] == "counted by rows: there is no column of steps"


def test_rows_that_are_torn_are_counted_and_what_comes_later_is_read(table):
    table.write_text('step,loss\n1,3.0\n2\nx,1.0\n"3,1.0\n4,2.0\n5,1.')
    run = opened(table)
    assert losses(run)[0] == (1, 3.0)
    assert run.problems == ["log.csv: 3 rows could not be read"]
    with table.open("a") as file:
        file.write("5\n6,1.25\n")
    assert run.update()
    assert losses(run)[-2:] == [(5, 1.5), (6, 1.25)]
    assert not run.update()


def test_a_table_written_anew_with_another_column_is_read_anew(table):
    table.write_text("step,loss\n1,3.0\n2,2.0\n")
    run = opened(table)
    table.write_text("step,loss,val_loss\n1,3.0,\n2,2.0,\n2,,2.5\n")
    run.update()
    assert losses(run) == [(1, 3.0), (2, 2.0)]
    assert losses(run, "val/loss") == [(2, 2.5)]


def test_a_run_taken_up_from_before_counts_nothing_twice(table):
    table.write_text("step,loss\n1,1\n2,2\n3,3\n4,4\n3,30\n4,40\n")
    assert losses(opened(table)) == [(1, 1), (2, 2), (3, 30), (4, 40)]


def test_a_loss_logged_once_an_epoch_is_known_when_the_second_one_comes(table):
    table.write_text("epoch,step,train_loss\n0,99,3.0\n")
    run = opened(table)
    assert losses(run) == [(99, 3.0)]  # for now
    with table.open("a") as file:
        file.write("1,199,2.0\n")
    run.update()
    assert losses(run) == []
    assert losses(run, "train/epoch_avg_loss") == [(99, 3.0), (199, 2.0)]


def test_a_name_that_nobody_could_guess_is_said_by_a_person(table):
    table.write_text("step,J,gn\n" + "".join(f"{i},{2 + 0.1 * (i % 5)},1\n" for i in range(99)) + "99,nan,1\n")
    assert opened(table).findings == []
    run = opened(table, J="train/batch_loss", gn="train/gradient_norm")
    assert [finding.name for finding in run.findings] == ["non_finite"]
    assert run.notes == ["taken for: J = train/batch_loss, gn = train/gradient_norm"]


def test_a_table_without_a_header_says_so(table):
    table.write_text("1,2\n3,4\n")
    run = opened(table)
    assert run.problems == ["log.csv: its first line does not name the columns"]
    assert run.state.status == "waiting"


def test_a_state_that_is_being_written_and_one_that_is_none(tmp_path):
    state = tmp_path / "trainer_state.json"
    state.write_text('{"log_history": [{"loss": 1.0, "st')
    run = opened(state)
    assert run.problems == ["trainer_state.json: is no state of a Trainer, or not a whole one"]
    rows = [{"loss": 1.0, "epoch": 0.5, "step": 5}, {"loss": float("nan"), "epoch": 1.0, "step": 10}, 7]
    state.write_text(json.dumps({"log_history": rows, "max_steps": 20, "num_train_epochs": 2, "epoch": 1.0}))
    assert run.update()
    assert losses(run)[0] == (5, 1.0)
    assert run.problems == ["trainer_state.json: 1 row could not be read"]
    assert run.state.share == 0.5


def test_what_is_no_run_is_said(tmp_path):
    with pytest.raises(NoRun, match="there is no such folder or file"):
        open_run(tmp_path / "nothing")
    (tmp_path / "notes.md").write_text("")
    with pytest.raises(NoRun, match=r"notes\.md: is no run folder, and no csv"):
        open_run(tmp_path / "notes.md")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.yaml").write_text("")
    with pytest.raises(NoRun, match=f"is no run itself, but these are: {tmp_path}/runs/a"):
        open_run(tmp_path / "runs")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("step\n")
    with pytest.raises(NoRun, match=r"holds several tables, name one: a\.csv, b\.csv"):
        open_run(tmp_path)
    assert isinstance(open_run(tmp_path / "runs" / "a"), Watched)


def test_a_folder_with_one_table_is_that_table(tmp_path):
    (tmp_path / "history.csv").write_text("iteration,loss\n1,2.0\n")
    os.utime(tmp_path / "history.csv", (0, 0))
    assert losses(opened(tmp_path)) == [(1, 2.0)]
