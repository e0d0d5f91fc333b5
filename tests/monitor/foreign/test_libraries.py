"""Logs that the libraries themselves have written: read, and diagnosed."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ignition.monitor import open_run


def made(tmp_path, library, script):
    """Run a script that trains with a library and writes into the folder it gets."""
    pytest.importorskip(library)
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **quiet})
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip().splitlines()[-1])


def names(run):
    return {finding.name for finding in run.findings}


def test_lightning_csv(tmp_path):
    folder = made(
        tmp_path,
        "lightning",
        """
        import sys, torch, lightning as L
        from lightning.pytorch.loggers import CSVLogger
        from lightning.pytorch.callbacks import LearningRateMonitor

        class Model(L.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)
            def training_step(self, batch, number):
                loss = self.layer(batch[0]).square().mean() + 1
                if self.global_step >= 150:
                    loss = loss * float("nan")
                self.log("train_loss", loss, on_step=True, on_epoch=True)
                return loss
            def validation_step(self, batch, number):
                self.log("val_loss", 2.0 + 0.1 * self.current_epoch)
                self.log("val_acc", 0.5)
            def on_before_optimizer_step(self, optimizer):
                self.log_dict(L.pytorch.utilities.grad_norm(self, norm_type=2))
            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=1e-2)

        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(80, 1)), batch_size=4)
        logger = CSVLogger(sys.argv[1])
        trainer = L.Trainer(max_epochs=8, logger=logger, log_every_n_steps=1, enable_progress_bar=False,
                            enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
                            callbacks=[LearningRateMonitor("step")])
        trainer.fit(Model(), data, data)
        print(logger.log_dir)
        """,
    )
    assert (folder / "metrics.csv").is_file()
    run = open_run(folder)
    assert run.update(None)
    assert run.state.status == "log"
    assert (run.state.epoch, run.state.learning_rate) == (7, 0.01)
    (note,) = run.notes
    for pair in ("train_loss_step = train/batch_loss", "train_loss_epoch = train/epoch_avg_loss", "val_loss = val/loss",
                 "val_acc = val/acc", "lr-SGD = train/learning_rate",
                 "grad_2.0_norm_total = train/gradient_norm"):  # fmt: skip
        assert pair in note
    assert [point.mean for point in run.curves.points("val/loss")] == pytest.approx([2 + 0.1 * i for i in range(8)])
    assert len(run.curves.points("train/batch_loss")) == 160
    assert {"overfitting", "non_finite"} <= names(run)
    assert [finding.first for finding in run.findings if finding.name == "non_finite"] == [150]
    assert run.problems == []
    assert not run.update(None)


def test_hugging_face_state(tmp_path):
    folder = made(
        tmp_path,
        "transformers",
        """
        import sys, torch
        from transformers import Trainer, TrainingArguments

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(1, 1)
                self.steps = 0
            def forward(self, x, labels):
                loss = (self.layer(x) - labels).square().mean()
                if self.training:
                    self.steps += 1
                    if self.steps > 120:
                        loss = loss + 100
                return {"loss": loss, "logits": x}

        data = [{"x": torch.tensor([1.0 + i % 5]), "labels": torch.tensor([2.0 + i % 3])} for i in range(160)]
        arguments = TrainingArguments(
            output_dir=sys.argv[1], num_train_epochs=8, per_device_train_batch_size=8, logging_steps=1, report_to=[],
            eval_strategy="epoch", save_strategy="epoch", learning_rate=1e-3, use_cpu=True, disable_tqdm=True,
            save_total_limit=2)
        Trainer(Model(), arguments, train_dataset=data, eval_dataset=data[:16]).train()
        print()
        print(sys.argv[1])
        """,
    )
    run = open_run(folder)
    assert run.update(None)
    state = run.state
    assert (state.status, state.iteration, state.iterations, state.epoch, state.epochs) == ("log", 160, 160, 8, 8)
    taken, means = run.notes
    for pair in ("loss = train/batch_loss", "grad_norm = train/gradient_norm", "learning_rate = train/learning_rate",
                 "eval_loss = val/loss"):  # fmt: skip
        assert pair in taken
    assert "runtime" not in taken
    assert "mean of train/batch_loss" in means
    assert len(run.curves.points("train/batch_loss")) == 160
    assert len(run.curves.points("val/loss")) == len(run.curves.points("train/epoch_avg_loss")) == 8
    assert state.gap is not None
    assert "loss_spike" in names(run) or "slow_divergence" in names(run)
    assert min(finding.first for finding in run.findings) >= 120
    assert open_run(max(folder.glob("checkpoint-*")) / "trainer_state.json").update(None)


def test_tensorboard_events(tmp_path):
    folder = made(
        tmp_path,
        "tensorboard",
        """
        import math, sys, torch
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(sys.argv[1]) as writer:
            writer.add_image("a picture", torch.rand(3, 200, 200), 0)
            writer.add_text("words", "nothing")
            for step in range(200):
                writer.add_scalar("Loss/train", 5 / (1 + step) + 0.01 * (step % 7) if step != 150 else math.inf, step)
                writer.add_scalar("grad_norm", 1.0 + 0.1 * (step % 3), step, new_style=True)
                writer.add_scalars("both", {"a": 1.0}, step) if step < 2 else None
            for epoch in range(5):
                writer.add_scalar("Loss/val", 3.0 - epoch / 10, epoch * 40)
                writer.add_histogram("weights", torch.rand(1000), epoch)
        with SummaryWriter(sys.argv[1], purge_step=190, filename_suffix=".later") as writer:  # taken up again
            for step in range(190, 210):
                writer.add_scalar("Loss/train", 0.5, step)
        print(sys.argv[1])
        """,
    )
    run = open_run(folder)
    assert run.update(None)
    assert run.problems == []
    losses = [(point.iteration, point.mean) for point in run.curves.points("train/batch_loss")]
    assert [iteration for iteration, _ in losses] == list(range(210))
    assert losses[3][1] == pytest.approx(5 / 4 + 0.03)
    assert [loss for _, loss in losses[190:]] == [0.5] * 20
    assert len(run.curves.points("train/gradient_norm")) == 190
    assert [point.iteration for point in run.curves.points("val/loss")] == [0, 40, 80, 120, 160]
    assert run.state.val_loss == pytest.approx(2.6)
    assert "Loss/train = train/batch_loss" in run.notes[0]
    found = [finding for finding in run.findings if finding.name == "non_finite"]
    assert [finding.first for finding in found] == [150]
    assert not run.update(None)
