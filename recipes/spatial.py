"""Virtual staining: the markers of a multiplexed image from the H&E picture of the same tissue.

What this recipe does otherwise than common code for it, and why:

- Targets are scaled by quantiles of the training cores, kept with the weights. Percentiles of each crop give one stain
  another target in every crop, and stretch an empty crop to the full range; a validation loss on such targets jumps.
- Flips, turns and bends move the picture and the markers alike; only the stains change in the picture alone.
- Training and validation data are different cores, never patches of one; validation is on whole cores, always the same
  pixels, so that a schedule that waits for a better validation loss waits for the network and not for luck.
- The floor under the spread of a prediction is relative to that of the truth, and pulls as hard wherever it is passed.
  exp(-100 variance) punishes a rare marker for being rare, right or wrong; (0.01 - variance)^2 is at most 0.0001.
- Blank and autofluorescence channels count nothing, and are told apart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from ignite.metrics import Metric
from torch import nn
from torch.utils.data import Dataset

from ignition.recipe import Field, Progress, Rate, Section, Source, Splits, Traits
from recipes.parts.pretrained import load_matching, read_state_dict, weights_file
from recipes.parts.staining.augmentation import StainAugmentation
from recipes.parts.staining.datasets import (
    PROCEDURAL,
    CorePatches,
    Part,
    WholeCores,
    collate_cores,
    procedural_parts,
    stored_parts,
)
from recipes.parts.staining.losses import TERMS, channel_spread, focal
from recipes.parts.staining.metrics import NAMES, MeanImage, StainingErrors
from recipes.parts.staining.objections import staining_objections
from recipes.parts.staining.pictures import staining_strip
from recipes.parts.staining.resnet_unet import ResNetUNet
from recipes.parts.staining.tiled_prediction import check_tiles
from recipes.parts.staining.tissue import PANEL
from recipes.parts.staining.unet import UNet
from recipes.parts.staining.virtual_staining import Staining, VirtualStaining

log = logging.getLogger(__name__)

SHOWN = 128  # px of a core's middle that are drawn
Batch = Mapping[str, torch.Tensor]


class Recipe:
    """Markers of each pixel from an H&E picture."""

    class Settings(Section):
        model: Literal["unet", "resnet34"] = Field("unet", description="the network")
        base: int = Field(16, ge=4, le=256, description="channels of the U-Net's first level")
        depth: int = Field(3, ge=1, le=6, description="how often the U-Net halves the size")
        boundary_input: bool = Field(False, description="give the U-Net the picture's edges as a fourth channel")
        channels: list[str] = Field(list(PANEL), min_length=1, description="the markers, in the order of the files")
        blank: list[str] = Field(["blank"], description="those that are blank or autofluorescence, and count nothing")
        positive: float = Field(0.25, gt=0, lt=1, description="scaled value from which a pixel is positive")
        low: float = Field(0.01, ge=0, lt=0.5, description="quantile of the training cores that becomes 0")
        high: float = Field(0.998, gt=0.5, le=1, description="quantile of the training cores that becomes 1")
        channel_weights: Literal["equal", "prevalence"] = Field(
            "equal", description="rare markers count as all others do, or up to four times as much as frequent ones"
        )
        patch: int = Field(64, ge=16, description="side of training patches, px")
        patches_per_core: int = Field(12, ge=1, description="patches of each core in an epoch")
        val_share: float = Field(0.2, gt=0, lt=1, description="share of the cores that validate, where none is said")
        cores: int = Field(40, ge=2, description="procedural cores, those that validate included")
        side: int = Field(160, ge=32, description="side of procedural cores, px")
        turn: bool = Field(True, description="flip and turn training patches")
        elastic: float = Field(0.2, ge=0, le=1, description="chance that a training patch is bent")
        jitter: float = Field(0.1, ge=0, lt=1, description="change of each stain in training patches")
        tile: int = Field(256, ge=32, description="side of the tiles in which larger cores are predicted, px")
        halo: int = Field(48, ge=0, description="px around a tile that are seen and not used; as much again is blended")
        pretrained: str | None = Field(None, description="weights to start from: a run folder, or a file")

    def __init__(self, settings: Settings, data: Any):
        self.settings, self.data = settings, data
        self._training: list[Part] | None = None

    # ---------------------------------------------------------------------------------------------------- data
    def datasets(self) -> Splits:
        """Procedural cores, or real ones by name and folder; see docs/spatial.md for the names."""
        return Splits.of(self.data, self._dataset)

    def _dataset(self, source: Source, split: str) -> Dataset[Any]:
        s = self.settings
        if split == "train":
            return CorePatches(self._training_parts(), size=s.patch, each=s.patches_per_core)
        return WholeCores(self._parts(source, split))

    def _training_parts(self) -> list[Part]:
        """Found once: targets are scaled by them, whoever asks first."""
        if self._training is None:
            self._training = self._parts(self.data.train, "train")
        return self._training

    def _parts(self, source: Source, split: str) -> list[Part]:
        s = self.settings
        if source.name in PROCEDURAL:
            if tuple(s.channels) != PANEL:
                raise ValueError(f"procedural cores have the channels {', '.join(PANEL)}; leave recipe.channels out")
            return procedural_parts(source.name, split, cores=s.cores, val_share=s.val_share, side=s.side)
        return stored_parts(
            source.name,
            source.folder(split),
            split,
            channels=s.channels,
            shared=self.data.divided,
            val_share=s.val_share,
            skip_bad=self.data.skip_bad,
        )

    def collate(self, samples: list[Batch]) -> Batch:
        """Cores of one size are stacked; of several, padded with pixels that do not count."""
        return collate_cores([dict(sample) for sample in samples])

    # --------------------------------------------------------------------------------------------------- model
    def model(self) -> nn.Module:
        s = self.settings
        if s.model == "resnet34":
            if s.boundary_input:
                raise ValueError("recipe.boundary_input is for the U-Net; weights of a ResNet are for three channels")
            network: ResNetUNet | UNet = ResNetUNet(len(s.channels))
        else:
            network = UNet(4 if s.boundary_input else 3, len(s.channels), base=s.base, depth=s.depth)
        check_tiles(tile=s.tile, halo=s.halo, stride=network.stride)
        return VirtualStaining(network, self._counted(), boundary_input=s.boundary_input)

    def _counted(self) -> list[bool]:
        """Which channels count."""
        channels, blank = self.settings.channels, self.settings.blank
        strange = [name for name in blank if name not in channels]
        if strange:
            raise ValueError(f"recipe.blank names {', '.join(strange)}, which recipe.channels does not")
        if set(channels) == set(blank) or len(set(channels)) < len(channels):
            raise ValueError("recipe.channels must have names that differ, and one at least that is not blank")
        return [name not in blank for name in channels]

    def initialize(self, model: nn.Module) -> None:
        """Scales and weights of the channels by the training cores; weights from ``recipe.pretrained``."""
        s = self.settings
        positive = s.positive if s.channel_weights == "prevalence" else None
        scaler: Any = model.scaler
        parts = self._training_parts()
        scaler.fit(parts, low=s.low, high=s.high, positive=positive, skip_bad=self.data.skip_bad)
        if s.pretrained is not None:
            state = read_state_dict(weights_file(s.pretrained, recipe="recipes/spatial.py"))
            # torchvision's own files name the parts of what stands as `network.encoder` here. Scales stay as fitted.
            torchvisions = s.model == "resnet34" and not any("encoder." in name for name in state)
            place = model.get_submodule("network.encoder") if torchvisions else model
            log.info("%s", load_matching(place, {k: v for k, v in state.items() if "scaler." not in k}))

    # -------------------------------------------------------------------------------------------- augmentation
    def augmentation(self) -> nn.Module:
        """Flips, turns and bends of picture and markers together; other stains in the picture."""
        s = self.settings
        return StainAugmentation(s.patch, turn=s.turn, elastic=s.elastic, jitter=s.jitter)

    # -------------------------------------------------------------------------------------------------- losses
    def losses(self, model: nn.Module, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self._terms(model(batch["he"], batch["target"], batch["valid"]), progress)

    def losses_from(self, outputs: Staining, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self._terms(outputs, progress)

    def _terms(self, found: Staining, progress: Progress) -> dict[str, torch.Tensor]:
        """The terms that have a weight; the others are nought."""
        terms = {**TERMS, "focal": lambda found: focal(found, positive=self.settings.positive)}
        nought = found.markers.new_zeros(())
        return {name: term(found) if progress.weights.get(name, 1.0) else nought for name, term in terms.items()}

    def predict(self, model: nn.Module, batch: Batch) -> Staining:
        """Markers of whole cores of any size, in overlapping tiles where they are larger than ``recipe.tile``."""
        s = self.settings
        found: Staining = model.whole(batch["he"], batch["target"], batch["valid"], tile=s.tile, halo=s.halo)  # type: ignore[operator]
        return found

    # ------------------------------------------------------------------------------------------------- metrics
    def metrics(self) -> dict[str, Metric]:
        s = self.settings
        errors = StainingErrors(
            s.channels, self._counted(), positive=s.positive, output_transform=lambda output: output[0]
        )
        return {"errors": errors}

    def baseline(self, splits: Splits) -> MeanImage:
        """Each channel's mean over the very truth that is evaluated."""
        return MeanImage(splits.val, skip_bad=self.data.skip_bad)

    def signals(self, batch: Batch, outputs: Staining) -> dict[str, torch.Tensor]:
        """Spread of the prediction over that of the truth: the mean of the counted channels, and the least of them."""
        counted = outputs.weights > 0
        truth = channel_spread(outputs.truth, outputs.valid)[counted].clamp_min(1e-3)
        ratio = channel_spread(outputs.markers, outputs.valid)[counted] / truth
        return {"std_ratio": ratio.mean(), "least_std_ratio": ratio.min()}

    # ------------------------------------------------------------------------------------------------ settings
    def traits(self) -> Traits:
        s = self.settings
        small = s.model == "unet" and s.base <= 16 and s.depth <= 3
        return Traits(
            transformer=False,
            pretrained=s.pretrained is not None,
            rate=Rate(3e-3 if small else 3e-4, 12, "the spatial document"),
            divides=True,
            dense=True,
            score=("val/pearson", "max"),
            metrics=NAMES,
        )

    def objections(self, config: Any) -> Iterator[dict[str, Any]]:
        return staining_objections(config)

    # ------------------------------------------------------------------------------------------------ pictures
    def pictures(self, batch: Batch, outputs: Staining) -> dict[str, torch.Tensor]:
        """The middle of each core: H&E, and each channel predicted and measured."""
        down, across = (
            slice(max(0, (n - SHOWN) // 2), max(0, (n - SHOWN) // 2) + SHOWN) for n in batch["he"].shape[2:]
        )
        rows = zip(*(part[..., down, across] for part in (batch["he"], outputs.markers, outputs.truth)))
        channels = [
            name if counts else f"{name} (apart)" for name, counts in zip(self.settings.channels, self._counted())
        ]
        return {
            f"spatial-{number}": staining_strip(*row, channels=channels) for number, row in enumerate(rows, start=1)
        }
