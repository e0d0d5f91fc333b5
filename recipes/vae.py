"""An autoencoder of pictures made of 2D Gaussians: 512 of them, eight numbers each, and a code of some hundred numbers.

What this recipe does otherwise than a plain variational autoencoder of the eight numbers, and why:

- The numbers have one form only: the longer axis first, the angle as the cosine and sine of its double. An angle as it
  is stored jumps by half a turn, and by a quarter where the axes are exchanged; its best guess is then the mean.
- Each group of numbers (place, scales, angle, colour) is a term of its own: the sum over its columns, divided by their
  number, of columns that are normalised by the training data alone. So a weight says what a group counts, whatever its
  size.
- What was where is kept: no average over the whole sequence before the code, and an order in which a place in the
  sequence is about the same place in all pictures.
- The picture counts as well as the numbers: both sets are drawn and compared.
- The metrics say what a predictor of the mean has, which is exactly 1 in each group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from ignite.metrics import Metric
from torch import nn
from torch.utils.data import Dataset

from ignition.recipe import Field, Progress, Section, Source, Splits, Traits
from recipes.parts.gaussians.augmentation import GaussianAugmentation
from recipes.parts.gaussians.datasets import gaussian_dataset
from recipes.parts.gaussians.form import FORMS
from recipes.parts.gaussians.losses import code_divergence, group_errors, picture_errors
from recipes.parts.gaussians.metrics import ACTIVE, CodeUse, GaussianErrors, PictureErrors, SampleDiversity
from recipes.parts.gaussians.objections import gaussian_objections
from recipes.parts.gaussians.pictures import reconstruction_strip, walk_strip
from recipes.parts.gaussians.procedural_gaussians import ProceduralGaussians
from recipes.parts.gaussians.render import render
from recipes.parts.gaussians.vae import GaussianVAE, Reconstruction

SAMPLES, STEPS = 8, 6  # pictures from the prior, and on the way from one code to another
PICTURE_TERMS = ("render_l1", "render_ssim")
Batch = Mapping[str, torch.Tensor]


class Outputs(NamedTuple):
    """A reconstruction with its pictures [B,3,S,S], pictures of samples [8,3,S,S], and a walk of Gaussians [6,N,8]."""

    found: Reconstruction
    picture: torch.Tensor
    true_picture: torch.Tensor
    samples: torch.Tensor
    walk: torch.Tensor


class Recipe:
    """A variational autoencoder over sets of 2D Gaussians."""

    class Settings(Section):
        model: Literal["conv1d", "resnet", "grid"] = Field("grid", description="the network")
        latent: int = Field(128, ge=2, le=4096, description="numbers of a code")
        gaussians: int = Field(512, ge=16, le=8192, description="Gaussians of a set, a power of two")
        form: Literal["canonical", "stored"] = Field(
            "canonical", description="of the numbers: one for each Gaussian, or the eight as stored"
        )
        order: Literal["balanced", "morton"] = Field(
            "balanced", description="of the sequence: leaves of a k-d tree, or the Z-curve"
        )
        keep_position: bool = Field(True, description="no average over the whole sequence before the code")
        free_bits: float = Field(0.0, ge=0, description="nats that each unit of the code may tell for nothing")
        image_size: int = Field(64, ge=8, le=1024, description="side of the pictures that scales count in, px")
        render_size: int = Field(32, ge=8, le=1024, description="side of the pictures drawn in training, px")
        render_samples: int = Field(8, ge=1, description="samples of a training batch that are drawn")
        strongest: int = Field(10, ge=1, description="Gaussians that make a pixel")
        train_samples: int = Field(2048, ge=1, description="procedural sets of an epoch")
        val_samples: int = Field(128, ge=1, description="procedural sets that are evaluated")
        turn: bool = Field(True, description="mirror and turn training sets")
        exchange_colours: bool = Field(True, description="put red, green and blue of training sets in any order")
        jitter: float = Field(0.2, ge=0, lt=1, description="change of contrast and colour of training sets")

    def __init__(self, settings: Settings, data: Any):
        self.settings, self.data = settings, data
        self._training: Dataset[Any] | None = None

    # ---------------------------------------------------------------------------------------------------- data
    def datasets(self) -> Splits:
        """Sets of procedural pictures, or real ones by name and folder; see docs/vae.md for the names."""
        return Splits.of(self.data, self._dataset)

    def _dataset(self, source: Source, split: str) -> Dataset[Any]:
        return self._training_data() if split == "train" else self._sets(source, split)

    def _training_data(self) -> Dataset[Any]:
        """Made once: its statistics are the model's, whoever asks first."""
        if self._training is None:
            self._training = self._sets(self.data.train, "train")
        return self._training

    def _sets(self, source: Source, split: str) -> Dataset[Any]:
        s = self.settings
        if source.name == "procedural":
            count = s.train_samples if split == "train" else s.val_samples
            return ProceduralGaussians(count, gaussians=s.gaussians, seed={"train": 1, "val": 2, "test": 3}[split])
        part = split if self.data.divided and split != "test" else "all"
        return gaussian_dataset(source.name, source.folder(split), split=part, gaussians=s.gaussians)

    # --------------------------------------------------------------------------------------------------- model
    def model(self) -> nn.Module:
        s = self.settings
        return GaussianVAE(
            network=s.model,
            latent=s.latent,
            count=s.gaussians,
            form=s.form,
            order=s.order,
            keep_position=s.keep_position,
        )

    def initialize(self, model: nn.Module) -> None:
        """Mean and spread of every number, and the linear maps, by the training data alone.

        They are part of the model's weights. The data is taken as it is trained on, augmented.
        """
        data: Any = self._training_data()
        count = min(len(data), 1024)
        sets = torch.stack([data[number * len(data) // count]["gaussians"] for number in range(count)])
        device = next(model.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            augment = self.augmentation()
            repeated = [augment({"gaussians": sets})["gaussians"] for _ in range(-(-4096 // count))]
            given = torch.cat(repeated).to(device)
            model.fit_statistics(given)  # type: ignore[operator]
            model.start_linear(given)  # type: ignore[operator]

    # -------------------------------------------------------------------------------------------- augmentation
    def augmentation(self) -> nn.Module:
        """The symmetries of the square, any order of the colours, and a change of them."""
        s = self.settings
        return GaussianAugmentation(turn=s.turn, exchange_colours=s.exchange_colours, jitter=s.jitter)

    # -------------------------------------------------------------------------------------------------- losses
    def losses(self, model: nn.Module, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        """Errors of the groups of numbers, the code's divergence, and errors of the picture if they count."""
        found, s = model(batch["gaussians"]), self.settings
        terms = self._terms(found)
        if any(progress.weights.get(name, 1.0) for name in PICTURE_TERMS):
            drawn, true = found.gaussians[: s.render_samples], found.target[: s.render_samples]
            terms |= picture_errors(self._draw(drawn, s.render_size), self._draw(true, s.render_size))
        return terms

    def losses_from(self, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self._terms(outputs.found) | picture_errors(outputs.picture, outputs.true_picture)

    def _terms(self, found: Reconstruction) -> dict[str, torch.Tensor]:
        errors = group_errors(found.columns, found.truth, found.weights, FORMS[self.settings.form].groups)
        return errors | {"kl": code_divergence(found.mean, found.log_variance, free_bits=self.settings.free_bits)}

    def _draw(self, gaussians: torch.Tensor, size: int) -> torch.Tensor:
        return render(gaussians, size=size, side=self.settings.image_size, strongest=self.settings.strongest)

    def predict(self, model: nn.Module, batch: Batch) -> Outputs:
        """The reconstruction from the mean of the code, drawn; the same samples from the prior every time."""
        found: Reconstruction = model(batch["gaussians"])
        generator = torch.Generator().manual_seed(0)
        codes = torch.randn(SAMPLES, found.mean.shape[1], generator=generator).to(found.mean)
        share = torch.linspace(0, 1, STEPS, device=codes.device).unsqueeze(1)
        walk = torch.lerp(found.mean[:1], found.mean[-1:], share)
        decoded = model.decode(torch.cat([codes, walk]))  # type: ignore[operator]
        return self._outputs(found, decoded[:SAMPLES], decoded[SAMPLES:])

    def _outputs(self, found: Reconstruction, samples: torch.Tensor, walk: torch.Tensor) -> Outputs:
        size = self.settings.image_size
        picture, true_picture = self._draw(found.gaussians, size), self._draw(found.target, size)
        return Outputs(found, picture, true_picture, self._draw(samples, size), walk)

    # ------------------------------------------------------------------------------------------------- metrics
    def metrics(self) -> dict[str, Metric]:
        groups = FORMS[self.settings.form].groups
        return {
            "errors": GaussianErrors(groups, output_transform=lambda output: output[0].found),
            "code": CodeUse(output_transform=lambda output: output[0].found),
            "pictures": PictureErrors(output_transform=lambda output: (output[0].picture, output[0].true_picture)),
            "samples": SampleDiversity(output_transform=lambda output: (output[0].samples, output[0].true_picture)),
        }

    def baseline(self, splits: Splits) -> Any:
        """The mean of the training data for every number, whatever the input."""

        def predict(model: nn.Module, batch: Batch) -> Outputs:
            found = model.trivial(batch["gaussians"])  # type: ignore[operator]
            same = found.gaussians[:1].expand(SAMPLES, -1, -1)
            return self._outputs(found, same, same[:STEPS])

        return predict

    def signals(self, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        """Spread of predictions beside the truth's, over all numbers and from set to set; how much the code is used."""
        found = outputs.found
        columns, truth = found.columns, found.truth
        signals = {
            "std_ratio": columns.std() / truth.std().clamp_min(1e-6),
            "kl_per_dim": code_divergence(found.mean, found.log_variance),
        }
        if len(columns) > 1:
            signals["batch_std_ratio"] = columns.std(0).mean() / truth.std(0).mean().clamp_min(1e-6)
            signals["active_units"] = (found.mean.var(0) > ACTIVE).float().mean()
        return signals

    # ------------------------------------------------------------------------------------------------ settings
    def traits(self) -> Traits:
        """No terms are sums over channels: `group_errors` divides each by the number of its columns."""
        groups = FORMS[self.settings.form].groups
        return Traits(
            transformer=False,
            divides=True,
            score=("val/render_psnr", "max"),
            metrics=(*groups, "std_ratio", "kl", "active_units", "render_psnr", "ssim", "diversity"),
        )

    def objections(self, config: Any) -> Iterator[dict[str, Any]]:
        return gaussian_objections(config)

    # ------------------------------------------------------------------------------------------------ pictures
    def pictures(self, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        """A walk from the first code of the batch to the last; input, reconstruction, difference and a sample."""
        walk = self._draw(outputs.walk, self.settings.image_size)
        rows = zip(outputs.true_picture, outputs.picture, outputs.samples)
        strips = {f"vae-{number}": reconstruction_strip(*row) for number, row in enumerate(rows, start=1)}
        return {"walk": walk_strip(walk), **strips}
