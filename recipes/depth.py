"""Depth from a pair of images, or from one: disparity of the left view, trained on procedural or real stereo pairs.

What this recipe does otherwise than common fine-tuning code, and why:

- The stereo networks match: they compare left and right features along the row (a correlation volume). A network that
  only concatenates both eyes has to guess disparity from appearance.
- Train and validation data are different recordings, never neighbouring frames of one.
- The loss and the metrics count the same pixels.
- A frozen encoder freezes the statistics of its normalisation layers too.
- Depth maps are rotated into the rectified frame, not only resampled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from ignite.metrics import Metric
from torch import nn
from torch.utils.data import Dataset

from ignition.recipe import Field, Progress, Rate, Section, Source, Splits, Traits
from recipes.parts.pretrained import freeze, load_matching, weights_file
from recipes.parts.stereo.augmentation import StereoAugmentation
from recipes.parts.stereo.batches import collate_stereo
from recipes.parts.stereo.datasets import stereo_dataset
from recipes.parts.stereo.group_volume_net import GroupVolumeNet
from recipes.parts.stereo.losses import edge_aware_smoothness, masked_smooth_l1, scale_invariant_log
from recipes.parts.stereo.metrics import DisparityErrors, MedianDisparity
from recipes.parts.stereo.mono_depth_net import MonoDepthNet
from recipes.parts.stereo.objections import depth_objections
from recipes.parts.stereo.pictures import disparity_strip
from recipes.parts.stereo.procedural_rig import ProceduralRig
from recipes.parts.stereo.procedural_stereo import ProceduralStereo
from recipes.parts.stereo.small_net import StereoNet
from recipes.parts.stereo.whole_image import predict_disparity

log = logging.getLogger(__name__)

PROCEDURAL: dict[str, Callable[..., Dataset[Any]]] = {
    "procedural": partial(ProceduralStereo, domain="clean"),
    "procedural_noisy": partial(ProceduralStereo, domain="noisy"),
    "procedural_rig": ProceduralRig,
}
MODELS = {
    "small": lambda s: StereoNet(max_disparity=s.max_disparity, dropout=s.dropout),
    "full": lambda s: GroupVolumeNet(max_disparity=s.max_disparity, dropout=s.dropout),
    "mono": lambda s: MonoDepthNet(max_disparity=float(s.max_disparity), dropout=s.dropout),
}
Batch = Mapping[str, torch.Tensor]


class Recipe:
    """Stereo or monocular depth: a network gives the left view's disparity in px."""

    class Settings(Section):
        model: Literal["small", "full", "mono"] = Field("small", description="the network")
        max_disparity: int = Field(
            96, ge=16, le=512, description="largest disparity that is found, px; see the network"
        )
        dropout: float = Field(0.0, ge=0, le=0.5, description="share of feature maps left out while training")
        crop_height: int = Field(96, ge=32, description="height of training crops, px")
        crop_width: int = Field(256, ge=64, description="width of training crops, px")
        train_samples: int = Field(1024, ge=1, description="procedural pairs of an epoch")
        val_samples: int = Field(32, ge=1, description="procedural pairs that are evaluated")
        gamma: float = Field(0.8, gt=0, le=1, description="weight of a coarser prediction beside the next finer one")
        jitter: float = Field(
            0.3, ge=0, le=1, description="change of brightness, contrast and saturation, of both eyes"
        )
        eye_jitter: float = Field(0.1, ge=0, le=1, description="further change, of each eye by itself")
        erase: float = Field(0.3, ge=0, le=1, description="chance that a part of the right image is erased")
        flip: bool = Field(True, description="flip upside down, and left to right with an exchange of the eyes")
        pretrained: str | None = Field(None, description="weights to start from: a run folder, or a file")
        calibration: str | None = Field(None, description="camera calibration (npz) of unrectified recordings")
        disparity_scale: float | None = Field(
            None, gt=0, description="what stored disparities are divided by, for 'pairs'"
        )
        freeze_encoder: bool = Field(False, description="train the rest of the network only")
        before: str | None = Field(None, description="data trained on before: evaluated to see what is forgotten")

    def __init__(self, settings: Settings, data: Any):
        self.settings, self.data = settings, data

    # ---------------------------------------------------------------------------------------------------- data
    def datasets(self) -> Splits:
        """Procedural pairs made on the fly, or real ones by name and folder; see docs/depth.md for the names."""
        before = self.settings.before
        others = {"source": lambda: self._dataset(Source(name=before), "val")} if before else {}
        return Splits.of(self.data, self._dataset, others=others)

    def _dataset(self, source: Source, split: str) -> Dataset[Any]:
        s, training = self.settings, split == "train"
        size = (s.crop_height, s.crop_width)
        if source.name in PROCEDURAL:
            return PROCEDURAL[source.name](
                s.train_samples if training else s.val_samples,
                size=size,
                max_disparity=0.8 * s.max_disparity,
                seed=1 if training else 2,
                fixed=not training,
            )
        return stereo_dataset(
            source.name,
            source.folder(split),
            split=split if self.data.divided or split == "test" else "all",
            crop=size if training else None,
            scale=s.disparity_scale,
            calibration=s.calibration,
        )

    def collate(self, samples: list[Batch]) -> Batch:
        """Pairs of one size are stacked; of several sizes, padded to the largest with pixels that do not count."""
        return collate_stereo(samples)

    # --------------------------------------------------------------------------------------------------- model
    def model(self) -> nn.Module:
        """The network, with its encoder frozen if asked for."""
        model = MODELS[self.settings.model](self.settings)
        if self.settings.freeze_encoder:
            freeze(model.get_submodule("encoder"))
        return model

    def initialize(self, model: nn.Module) -> None:
        """Weights from ``recipe.pretrained``, as far as they fit; tells what did and what did not."""
        if self.settings.pretrained is not None:
            log.info("%s", load_matching(model, weights_file(self.settings.pretrained, recipe="recipes/depth.py")))

    # -------------------------------------------------------------------------------------------- augmentation
    def augmentation(self) -> nn.Module:
        """The same change of colour for both eyes and a smaller one of each; flips; erasing in the right eye."""
        s = self.settings
        flips = 0.5 if s.flip else 0.0
        return StereoAugmentation(
            jitter=s.jitter, asymmetric_jitter=s.eye_jitter, vertical_flip=flips, swap=flips, erase=s.erase
        )

    # -------------------------------------------------------------------------------------------------- losses
    def losses(self, model: nn.Module, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self._terms(model(batch["left"], batch["right"]), batch)

    def losses_from(self, outputs: torch.Tensor, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self._terms([outputs], batch)

    def _terms(self, predictions: list[torch.Tensor], batch: Batch) -> dict[str, torch.Tensor]:
        final, truth, valid = predictions[-1], batch["disparity"], batch["valid"]
        return {
            "disparity": masked_smooth_l1(predictions, truth, valid, gamma=self.settings.gamma),
            "smooth": edge_aware_smoothness(final, batch["left"]),
            "silog": scale_invariant_log(final, truth, valid),
        }

    def predict(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Disparity [B,1,H,W] in px of images of any size."""
        return predict_disparity(model, batch["left"], batch["right"])

    # ------------------------------------------------------------------------------------------------- metrics
    def metrics(self) -> dict[str, Metric]:
        return {"errors": DisparityErrors()}

    def baseline(self, splits: Splits) -> MedianDisparity:
        """The best constant: the median of the very truth that is evaluated."""
        return MedianDisparity.fit(splits.val)

    def signals(self, batch: Batch, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """``std_ratio``: spread of the prediction over that of the truth; near 0 for a flat, collapsed one."""
        valid = batch["valid"]
        return {"std_ratio": outputs[valid].float().std() / batch["disparity"][valid].std().clamp_min(1e-6)}

    # ------------------------------------------------------------------------------------------------ settings
    def traits(self) -> Traits:
        tuned = self.settings.pretrained is not None
        return Traits(
            transformer=False,
            pretrained=tuned,
            rate=Rate(5e-5, 4, "the depth document") if tuned else None,
            divides=True,
            dense=True,
            score=("val/epe", "min"),
            metrics=DisparityErrors.NAMES,
        )

    def objections(self, config: Any) -> Iterator[dict[str, Any]]:
        return depth_objections(config)

    # ------------------------------------------------------------------------------------------------ pictures
    def pictures(self, batch: Batch, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Left image, predicted disparity, truth, error."""
        rows = zip(batch["left"], outputs, batch["disparity"], batch["valid"])
        return {f"depth-{number}": disparity_strip(*row) for number, row in enumerate(rows, start=1)}
