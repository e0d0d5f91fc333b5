"""Optical flow of drawn and of real frames, learned without labels, on procedural cartoons, AnimeRun or any two frames.

What this recipe does otherwise than common code for it, and why:

- Flow that has collapsed to nought is told: no flow's error stands beside every error, and the mean flow and what the
  flow explains of the pictures are watched. An error of 9 px says nothing where no flow at all has 9 px.
- The census loss does take over from SSIM, by a schedule of the config.
- Occlusion is looked for only once there is a flow to judge it by, and only where most of a frame is seen in the next:
  two random flows never agree, and a loss that counts no pixel is nought and teaches nothing. Left alone, a training
  goes there and stays.
- The weight of smoothness is for a flow in px; papers that divide the flow by the size of the picture have others.
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
from recipes.parts.flow.augmentation import FlowAugmentation
from recipes.parts.flow.datasets import flow_dataset
from recipes.parts.flow.layouts import Window
from recipes.parts.flow.losses import flow_consistency, flow_distance, flow_smoothness
from recipes.parts.flow.metrics import NAMES, FlowErrors, ZeroFlow, photometric_differences
from recipes.parts.flow.objections import flow_objections
from recipes.parts.flow.occlusion import leads_inside, most_or_all, seen_in_both
from recipes.parts.flow.photometric_losses import census, photometric
from recipes.parts.flow.pictures import flow_strip
from recipes.parts.flow.procedural_cartoons import ProceduralCartoons
from recipes.parts.flow.raft import RaftFlow
from recipes.parts.flow.second_pass import HarderView
from recipes.parts.flow.segment_motion import segment_consistency
from recipes.parts.flow.small_net import FlowNet
from recipes.parts.flow.whole_image import padded_flow
from recipes.parts.pretrained import load_matching, read_state_dict, weights_file
from recipes.parts.warping import warp

log = logging.getLogger(__name__)

MODELS = {
    "small": lambda s: FlowNet(levels=s.levels),
    "raft_small": lambda s: RaftFlow("small", updates=s.updates),
    "raft_large": lambda s: RaftFlow("large", updates=s.updates),
}
Batch = Mapping[str, torch.Tensor]
Outputs = dict[str, torch.Tensor]


class Recipe:
    """Unsupervised optical flow: a network gives the motion of each pixel to the next frame, in px."""

    class Settings(Section):
        model: Literal["small", "raft_small", "raft_large"] = Field("small", description="the network")
        levels: int = Field(4, ge=1, le=8, description="levels of the small network; it finds up to 2^(levels + 1) px")
        updates: int = Field(12, ge=1, description="iterations of RAFT")
        height: int = Field(64, ge=32, description="height of procedural frames and of training crops, px")
        width: int = Field(96, ge=32, description="width of procedural frames and of training crops, px")
        frames: int = Field(2, ge=2, description="frames of a clip")
        max_stride: int = Field(1, ge=1, description="largest step between a training clip's frames; drawn each time")
        max_speed: float = Field(10.0, gt=0, description="fastest procedural motion before the background, px a frame")
        train_samples: int = Field(1024, ge=1, description="procedural clips of an epoch")
        repeat: bool = Field(False, description="go through a small set until an epoch has train_samples clips")
        val_samples: int = Field(32, ge=1, description="procedural clips that are evaluated")
        alpha_ssim: float = Field(0.85, ge=0, le=1, description="share of SSIM in the photometric term; the rest is L1")
        census_radius: int = Field(2, ge=1, description="px around a pixel that the census term compares")
        smooth_order: Literal[1, 2] = Field(1, description="smoothness of the flow, or of its slope")
        edge_weight: float = Field(10.0, ge=0, description="how soon an edge of the picture frees the flow")
        segment_model: Literal["affine", "homography"] = Field("affine", description="the motion of a segment")
        min_segment: int = Field(24, ge=3, description="pixels of the smallest segment that has a motion of its own")
        occlusion_from: float = Field(1.0, ge=0, description="epochs before occluded pixels are left out")
        gamma: float = Field(0.8, gt=0, le=1, description="weight of a prediction beside the next finer one (RAFT)")
        jitter: float = Field(0.4, ge=0, le=1, description="change of brightness, contrast and saturation")
        hue: float = Field(0.15, ge=0, le=0.5, description="change of hue, in turns")
        grayscale: float = Field(0.2, ge=0, le=1, description="chance that a clip loses its colours")
        flip: bool = Field(True, description="flip left to right, and upside down")
        scale: float = Field(1.0, ge=1, le=4, description="frames are enlarged by up to this before they are cropped")
        pretrained: str | None = Field(None, description="weights to start from: a run folder, or a file")

    def __init__(self, settings: Settings, data: Any):
        self.settings, self.data = settings, data
        self.harder = HarderView()
        self.teacher: nn.Module | None = None  # an average of the weights, where the training keeps one

    # ---------------------------------------------------------------------------------------------------- data
    def datasets(self) -> Splits:
        """Procedural cartoons made on the fly, or real frames by name and folder; see docs/flow.md for the names."""
        return Splits.of(self.data, self._dataset)

    def _dataset(self, source: Source, split: str) -> Dataset[Any]:
        s, training = self.settings, split == "train"
        if source.name == "procedural":
            return ProceduralCartoons(
                s.train_samples if training else s.val_samples,
                size=(s.height, s.width),
                frames=s.frames,
                max_speed=s.max_speed,
                seed=1 if training else 2,
                fixed=not training,
            )
        return flow_dataset(
            source.name,
            source.folder(split),
            training=training,
            shared=self.data.divided,
            window=Window(s.frames, s.max_stride) if training else Window(),
            crop=(s.height, s.width) if training else None,
            count=s.train_samples if training and s.repeat else None,
        )

    # --------------------------------------------------------------------------------------------------- model
    def model(self) -> nn.Module:
        return MODELS[self.settings.model](self.settings)

    def _flows(self, model: nn.Module, first: torch.Tensor, second: torch.Tensor) -> list[torch.Tensor]:
        """Flows [N,2,H,W] in px between frames [N,3,H,W] of any size, coarse to fine."""
        if self.settings.model == "small":
            return padded_flow(model, first, second, stride=2 ** (self.settings.levels - 1), smallest=FlowNet.smallest)
        return padded_flow(model, first, second, stride=RaftFlow.stride, smallest=RaftFlow.smallest)

    def initialize(self, model: nn.Module) -> None:
        """Weights from ``recipe.pretrained``, as far as they fit; tells what did and what did not."""
        if self.settings.pretrained is not None:
            state = read_state_dict(weights_file(self.settings.pretrained, recipe="recipes/flow.py"))
            # torchvision's own files name the parts of what stands as `network` here
            torchvisions = isinstance(model, RaftFlow) and not any("network." in name for name in state)
            log.info("%s", load_matching(model.network if torchvisions else model, state))  # type: ignore[arg-type]

    # -------------------------------------------------------------------------------------------- augmentation
    def augmentation(self) -> nn.Module:
        """Scale, crop and flips with their flow; colours, the same in all frames of a clip."""
        s = self.settings
        flips = 0.5 if s.flip else 0.0
        return FlowAugmentation(
            jitter=(s.jitter, s.jitter, s.jitter, s.hue),
            grayscale=s.grayscale,
            horizontal_flip=flips,
            vertical_flip=flips,
            scale=(1.0, s.scale),
            crop=(s.height, s.width),
        )

    # -------------------------------------------------------------------------------------------------- losses
    def losses(self, model: nn.Module, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        first, second = _pairs(batch["frames"])
        both = torch.cat([first, second]), torch.cat([second, first])
        flows = [flow.chunk(2) for flow in self._flows(model, *both)]
        terms = self._terms(flows, batch, progress)
        if progress.weights.get("teacher", 1.0):
            terms["teacher"] = self._second_pass(model, first, second, flows[-1])
        return terms

    def losses_from(self, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        forward, backward = (outputs[name].flatten(0, 1) for name in ("forward", "backward"))
        return self._terms([(forward, backward)], batch, progress)

    def _terms(
        self, flows: list[tuple[torch.Tensor, ...]], batch: Batch, progress: Progress
    ) -> dict[str, torch.Tensor]:
        """Means over the predictions, coarse to fine, of the terms that have a weight; the others are nought."""
        names = ("photometric", "census", "smooth", "boundary", "consistency", "segment", "teacher")
        terms = {name: torch.zeros((), device=batch["frames"].device) for name in names}
        wanted = {name for name in names[:-1] if progress.weights.get(name, 1.0)}
        shares = [self.settings.gamma**step for step in range(len(flows))][::-1]
        for share, (forward, backward) in zip(shares, flows):
            for name, value in self._of_one(forward, backward, batch, progress, wanted).items():
                terms[name] = terms[name] + value * (share / sum(shares))
        return terms

    def _of_one(
        self, forward: torch.Tensor, backward: torch.Tensor, batch: Batch, progress: Progress, wanted: set[str]
    ) -> dict[str, torch.Tensor]:
        """The terms of one prediction, both ways: a flow is judged from either of its frames."""
        s = self.settings
        first, second = _pairs(batch["frames"])
        segments = torch.cat(_pairs(batch["segments"]))
        flow, back = torch.cat([forward, backward]), torch.cat([backward, forward])
        here, there = torch.cat([first, second]), torch.cat([second, first])
        agreed, seen = seen_in_both(flow, back), leads_inside(flow.detach())
        if progress.epoch >= s.occlusion_from:
            seen = most_or_all(agreed, seen)
        terms = {}
        if wanted & {"photometric", "census"}:
            warped = warp(there, flow, border=True)
            if "photometric" in wanted:
                terms["photometric"] = photometric(here, warped, seen, alpha_ssim=s.alpha_ssim)
            if "census" in wanted:
                terms["census"] = census(here, warped, seen, radius=s.census_radius)
        if "smooth" in wanted:
            terms["smooth"] = flow_smoothness(flow, order=s.smooth_order, image=here, edge_weight=s.edge_weight)
        if "boundary" in wanted:
            terms["boundary"] = flow_smoothness(flow, order=2, segments=segments)
        if "consistency" in wanted:
            # only where they nearly agree: two flows that do not are brought together soonest by no flow at all
            terms["consistency"] = flow_consistency(flow, back, agreed)
        if "segment" in wanted:
            kind, least = s.segment_model, s.min_segment
            terms["segment"] = segment_consistency(flow, segments, seen, model=kind, min_pixels=least)
        return terms

    def _second_pass(
        self, model: nn.Module, first: torch.Tensor, second: torch.Tensor, flows: tuple[torch.Tensor, ...]
    ) -> torch.Tensor:
        """A harder view of the pairs, against the averaged weights' flow, or the model's own where there are none."""
        if self.teacher is not None:
            with torch.no_grad():
                both = torch.cat([first, second]), torch.cat([second, first])
                flows = self._flows(self.teacher, *both)[-1].chunk(2)
        forward, backward = (flow.detach() for flow in flows)
        harder = self.harder(first, second, forward, seen_in_both(forward, backward))
        return flow_distance(self._flows(model, harder.first, harder.second)[-1], harder.flow, harder.mask)

    def handlers(self, training: Any) -> None:
        """The averaged weights, where ``ema`` asks for them, are the teacher of the second pass."""
        self.teacher = training.ema.module if training.ema is not None else None

    def predict(self, model: nn.Module, batch: Batch) -> Outputs:
        """Flows ``forward`` and ``backward`` [B,T-1,2,H,W] in px, of frames of any size."""
        first, second = _pairs(batch["frames"])
        with torch.inference_mode():
            forward, backward = (self._flows(model, *pair)[-1] for pair in ((first, second), (second, first)))
        shape = batch["flow"].shape
        return {"forward": forward.reshape(shape), "backward": backward.reshape(shape)}

    # ------------------------------------------------------------------------------------------------- metrics
    def metrics(self) -> dict[str, Metric]:
        return {"errors": FlowErrors()}

    def baseline(self, splits: Splits) -> ZeroFlow:
        return ZeroFlow()

    def signals(self, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        """What tells a flow that has collapsed to nought.

        ``mean_flow``, px; ``photometric_gain``, the share of the difference between frames that it explains; and where
        there is a truth ``flow_ratio``, its mean length over the true one's.
        """
        flow, valid = outputs["forward"].float(), batch["valid"]
        length = flow.norm(dim=2, keepdim=True)
        differs, unmoved = photometric_differences(flow, batch["frames"])
        found = {"mean_flow": length.mean(), "photometric_gain": 1 - differs / unmoved.clamp_min(1e-6)}
        if valid.any():
            true = batch["flow"].norm(dim=2, keepdim=True)[valid].mean()
            found["flow_ratio"] = length[valid].mean() / true.clamp_min(1e-6)
        return found

    # ------------------------------------------------------------------------------------------------ settings
    def traits(self) -> Traits:
        source, small = "the flow document", self.settings.model == "small"
        tuned = self.settings.pretrained is not None
        known = Rate(1e-3, 2, source) if small else Rate(1.25e-4, 4, source)
        return Traits(
            transformer=False,
            pretrained=tuned,
            rate=None if tuned else known,
            warmup=None if tuned else (0.08, source),
            divides=True,
            dense=True,
            score=("val/epe", "min"),
            metrics=NAMES,
        )

    def objections(self, config: Any) -> Iterator[dict[str, Any]]:
        return flow_objections(config)

    # ------------------------------------------------------------------------------------------------ pictures
    def pictures(self, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        """Both frames, flow, difference after warping, occlusion, truth and error of each clip's first pair."""
        forward, backward = outputs["forward"][:, 0], outputs["backward"][:, 0]
        seen = seen_in_both(forward, backward)
        frames, truth, valid = batch["frames"], batch["flow"][:, 0], batch["valid"][:, 0]
        rows = zip(frames[:, 0], frames[:, 1], forward, seen, truth, valid)
        return {f"flow-{number}": flow_strip(*row) for number, row in enumerate(rows, start=1)}


def _pairs(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """All frames of clips [B,T,C,H,W] that have a next one, and these next ones: two [B (T-1),C,H,W]."""
    return maps[:, :-1].flatten(0, 1), maps[:, 1:].flatten(0, 1)
