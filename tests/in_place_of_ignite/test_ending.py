import ignite.handlers
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from torch import nn

from ignition.handlers import Checkpoint, NonFiniteSteps

NAN = float("nan")


def ours(folder, objects, trainer, optimizer=None):
    Checkpoint(folder, objects).attach(trainer, Events.EXCEPTION_RAISED)


def ignites(folder, objects, trainer, optimizer=None):
    """As its documentation saves after an error."""
    trainer.add_event_handler(Events.EXCEPTION_RAISED, ignite.handlers.Checkpoint(objects, folder))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.in_place_of("V14", ours, ignites, there="DID NOT RAISE", raises=pytest.fail.Exception)
def test_an_error_that_is_saved_after_still_ends_the_run(make, error, tmp_path):
    def fail(engine, batch):
        if engine.state.iteration == 3:
            raise error("disk")

    trainer = Engine(fail)
    make(tmp_path, {"model": nn.Linear(1, 1)}, trainer)
    with pytest.raises(error, match="disk"):
        trainer.run([0] * 5, max_epochs=3)
    assert trainer.state.iteration == 3


def guarded(folder, objects, trainer, optimizer):
    NonFiniteSteps().attach(trainer, optimizer)
    Checkpoint(folder, objects).attach(trainer, Events.COMPLETED)


def terminated(folder, objects, trainer, optimizer):
    trainer.add_event_handler(Events.ITERATION_COMPLETED, ignite.handlers.TerminateOnNan())
    trainer.add_event_handler(Events.COMPLETED, ignite.handlers.Checkpoint(objects, folder))


@pytest.mark.in_place_of("V16", guarded, terminated, there="assert nan == 1.0")
def test_nan_reaches_neither_weights_nor_files(make, tmp_path):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_supervised_trainer(model, optimizer, nn.functional.mse_loss)
    make(tmp_path, {"model": model}, trainer, optimizer)
    good, bad = (torch.ones(1, 1), torch.ones(1, 1)), (torch.ones(1, 1), torch.full((1, 1), NAN))
    trainer.run([good, bad, good])
    saved = torch.load(next(tmp_path.glob("*.pt")))
    assert saved.get("model", saved)["weight"].item() == 1.0
