import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from ignite.engine import Engine, Events

from ignition.events import Stop
from ignition.handlers import Signals


@pytest.fixture(autouse=True)
def _handlers_come_back():
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    assert {number: signal.getsignal(number) for number in former} == former


def kill_at(iteration, number):
    return Engine(lambda engine, batch: os.kill(os.getpid(), number) if engine.state.iteration == iteration else None)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")])
def test_the_iteration_is_finished_and_the_run_ends_with_a_reason(number, name):
    """V15: nothing in ignite listens; the process would be gone without a file saved."""
    trainer, finished = kill_at(3, number), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: finished.append(engine.state.iteration))
    with Signals() as signals:
        signals.attach(trainer)
        assert signals.signal_number is None
        trainer.run([0] * 5, max_epochs=2)
    assert finished == [1, 2, 3]
    assert trainer.state.stop == Stop("preempted", f"asked to stop by {name}")
    assert signals.signal_number == number


def test_a_group_of_accumulated_batches_is_finished_first():
    trainer = kill_at(3, signal.SIGTERM)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: setattr(engine.state, "group_open", engine.state.iteration % 4 != 0)
    )
    with Signals() as signals:
        signals.attach(trainer)
        trainer.run([0] * 10)
    assert trainer.state.iteration == 4


def test_a_second_interrupt_is_at_once():
    trainer = Engine(lambda engine, batch: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])
    with Signals() as signals:
        signals.attach(trainer)
        with pytest.raises(KeyboardInterrupt):
            trainer.run([0] * 5)
    assert trainer.state.iteration == 1


def test_an_interrupt_after_a_termination_leaves_the_first_ones_number():
    trainer = Engine(lambda engine, batch: [os.kill(os.getpid(), n) for n in (signal.SIGTERM, signal.SIGINT)])
    with Signals() as signals:
        signals.attach(trainer)
        trainer.run([0] * 5)
    assert signals.signal_number == signal.SIGTERM


def test_an_evaluation_is_cut_short_without_its_completed_and_the_run_ends():
    evaluator, trainer = kill_at(2, signal.SIGTERM), Engine(lambda engine, batch: None)
    completed = []
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: completed.append("evaluator"))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run([0] * 1000))
    with Signals() as signals:
        signals.attach(trainer, evaluator)
        trainer.run([0] * 5, max_epochs=3)
    assert evaluator.state.iteration == 2
    assert completed == []  # half a metric is no metric
    assert (trainer.state.epoch, trainer.state.stop.status) == (1, "preempted")


def test_an_evaluation_before_the_run_is_cut_short_too():
    evaluator, trainer = kill_at(2, signal.SIGTERM), Engine(lambda engine, batch: None)
    with Signals() as signals:
        signals.attach(trainer, evaluator)
        evaluator.run([0] * 1000)
    assert evaluator.state.iteration == 2
    assert trainer.state.stop == Stop("preempted", "asked to stop by SIGTERM")


def test_a_run_listens_by_itself_and_restore_gives_the_former_handlers_back():
    trainer, signals = kill_at(1, signal.SIGTERM), Signals()
    signals.attach(trainer)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # attaching alone changes nothing
    trainer.run([0] * 5)
    assert signal.getsignal(signal.SIGTERM) == signals._note
    signals.restore()
    assert trainer.state.iteration == 1


def test_a_failure_half_way_gives_the_former_handlers_back():
    def run_and_fail():
        with Signals():
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        run_and_fail()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_outside_the_main_thread_it_says_so():
    errors = []

    def listen():
        try:
            Signals().listen()
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert errors == ["signals reach the main thread only; run the engine there, or without Signals"]


def test_ctrl_c_reaches_the_loaders_workers_and_they_go_on_for_the_step_that_is_finished():
    """A terminal sends SIGINT to the whole process group; a worker that died of it would fail the run."""
    program = textwrap.dedent("""
        import time
        from ignite.engine import Engine
        from torch.utils.data import DataLoader
        from ignition.handlers import Signals

        def step(engine, batch):
            print(engine.state.iteration, flush=True)
            time.sleep(0.02)
            engine.state.group_open = engine.state.iteration % 50 != 0

        if __name__ == "__main__":
            with Signals() as signals:
                trainer = Engine(step)
                signals.attach(trainer)
                trainer.run(DataLoader(range(1000), batch_size=1, num_workers=2))
            print("stopped", trainer.state.iteration, trainer.state.stop.reason)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    try:
        for line in process.stdout:
            if line == "5\n":
                break
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == "stopped 50 asked to stop by SIGINT"


def test_a_forked_child_can_still_be_terminated():
    here, there = os.pipe()
    with Signals() as signals:
        child = os.fork()
        if child == 0:
            os.write(there, b"!")
            time.sleep(10)
            os._exit(0)
        os.read(here, 1)  # Python drops signals that come while it is still forking
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert signals.signal_number is None


def test_two_processes_stop_in_the_same_iteration_wherever_the_signal_came(two_processes):
    """SIGTERM at process 1 alone, in training; then in an evaluation whose shares are of different length."""
    answers = two_processes(
        textwrap.dedent("""
        import json, os, signal
        from ignite.engine import Engine, Events
        from ignition import distributed
        from ignition.handlers import Signals

        def killed_at(iteration):
            def step(engine, batch):
                if distributed.rank() == 1 and engine.state.iteration == iteration:
                    os.kill(os.getpid(), signal.SIGTERM)
            return Engine(step)

        with distributed.process_group("cpu", timeout_seconds=60):
            answer = []
            with Signals() as signals:
                trainer = killed_at(3)
                signals.attach(trainer)
                trainer.run([0] * 9)
                answer += [trainer.state.iteration, signals.signal_number, trainer.state.stop.reason]
            for iteration in (2, 5):  # 5 is beyond the share of process 0
                with Signals() as signals:
                    evaluator, trainer = killed_at(iteration), Engine(lambda engine, batch: None)
                    signals.attach(trainer, evaluator)
                    share = [0] * (4 if distributed.rank() == 0 else 6)
                    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: evaluator.run(share))
                    trainer.run([0] * 9)
                    answer += [evaluator.state.iteration, trainer.state.iteration]
            print(json.dumps(answer))
        """)
    )
    assert json.loads(answers[0]) == [3, 15, "asked to stop by SIGTERM (process 1)", 2, 2, 4, 2]
    assert json.loads(answers[1]) == [3, 15, "asked to stop by SIGTERM (process 1)", 2, 2, 6, 2]
