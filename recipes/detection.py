"""Objects in pictures: boxes with classes, by a transformer or its convolutional peer, on procedural or real pictures.

What this recipe does otherwise than common fine-tuning code, and why:

- Padding is a colour that normalisation makes nought, and a mask tells the network where it is: an answer does not
  depend on how much padding the other pictures of a batch bring. Without the mask boxes are parts of the padded size.
- The best weights are chosen by validation data; what is for testing is looked at once, at the end.
- Pictures without objects are samples: what a detector finds there counts against it.
- Boxes are cut at the border of the picture after every change, and dropped where little of them is left.
- A backbone that was trained before may have a rate of its own (``optimizer.groups``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from ignite.metrics import Metric
from torch import nn
from torch.utils.data import Dataset

from ignition.recipe import Field, Progress, Rate, Section, Source, Splits, Traits
from recipes.parts.detection.augmentation import DetectionAugmentation
from recipes.parts.detection.box_set import Detections, SetOutputs
from recipes.parts.detection.datasets import DetectionDataset, describe_samples, detection_dataset
from recipes.parts.detection.dense_detection import DenseDetection
from recipes.parts.detection.detr_net import Detr
from recipes.parts.detection.fcos_net import DenseOutputs, FcosNet
from recipes.parts.detection.mean_boxes import MeanBoxes
from recipes.parts.detection.metrics import NAMES, DetectionScores
from recipes.parts.detection.objections import detection_objections
from recipes.parts.detection.padded_pictures import MEAN, collate_pictures, picture_sizes
from recipes.parts.detection.pictures import detection_strip
from recipes.parts.detection.procedural_shapes import SHAPES, ProceduralShapes
from recipes.parts.detection.set_detection import SetDetection
from recipes.parts.detection.set_losses import Focal, NoObject
from recipes.parts.detection.small_detector import SmallDetector
from recipes.parts.pretrained import load_matching, weights_file

log = logging.getLogger(__name__)

PROCEDURAL: dict[str, Callable[..., Dataset[Any]]] = {
    "procedural": ProceduralShapes,
    "procedural_crowded": partial(ProceduralShapes, crowded=True),
}
CLASSIFICATION: dict[str, Callable[[Any], Focal | NoObject]] = {
    "focal": lambda s: Focal(),
    "no_object": lambda s: NoObject(s.no_object_weight),
}
MODELS: dict[str, Callable[[Any, Focal | NoObject], nn.Module]] = {
    "small": lambda s, classify: SmallDetector(
        classify.outputs(len(s.classes)), queries=s.queries, width=s.width, prior=classify.prior
    ),
    "detr_r50": lambda s, classify: Detr(classify.outputs(len(s.classes)), queries=s.queries),
    "fcos_r18": lambda s, classify: FcosNet(len(s.classes), backbone="resnet18"),
    "fcos_r50": lambda s, classify: FcosNet(len(s.classes), backbone="resnet50"),
}
# A set is answered several times: by the encoder of "small", and by each layer of a decoder.
TASKS: dict[str, Callable[[Any, Focal | NoObject], SetDetection | DenseDetection]] = {
    "small": lambda s, classify: SetDetection(classify, repeats=s.proposal_repeats, answers=4),
    "detr_r50": lambda s, classify: SetDetection(classify, repeats=s.proposal_repeats, answers=6),
    "fcos_r18": lambda s, classify: DenseDetection(),
    "fcos_r50": lambda s, classify: DenseDetection(),
}
Batch = Mapping[str, Any]


class Outputs(NamedTuple):
    """All that the network answers, and what that says is in each picture."""

    answer: SetOutputs | DenseOutputs
    found: list[Detections]


class Recipe:
    """Object detection."""

    class Settings(Section):
        model: Literal["small", "detr_r50", "fcos_r18", "fcos_r50"] = Field("small", description="the network")
        classes: list[str] = Field(list(SHAPES), min_length=1, description="names of what is found, in order of labels")
        other_classes: Literal["refuse", "leave_out"] = Field(
            "refuse", description="what is done about boxes of other classes"
        )
        queries: int = Field(30, ge=1, le=1000, description="objects that can be found in a picture")
        width: int = Field(128, ge=32, le=512, multiple_of=16, description="of features and queries, for 'small'")
        classification: Literal["focal", "no_object"] = Field(
            "focal", description="each class by itself, or softmax with one more class that is no object"
        )
        no_object_weight: float = Field(0.1, gt=0, le=1, description="what an empty query counts, for 'no_object'")
        proposal_repeats: int = Field(4, ge=1, le=20, description="places that learn each object, for 'small'")
        padding: Literal["mean", "zero"] = Field("mean", description="colour beside the smaller pictures of a batch")
        mask: bool = Field(True, description="tell the network where padding is")
        short_sides: list[int] | None = Field(
            None,
            min_length=1,
            description="px of the shorter side: any of them in training, the last in evaluations; null: as on disk",
        )
        longest: int = Field(1333, ge=32, description="px of the longer side at most")
        crop: float = Field(0.0, ge=0, le=1, description="chance that a training picture is a window of one")
        train_samples: int = Field(2048, ge=1, description="procedural pictures of an epoch")
        val_samples: int = Field(96, ge=1, description="procedural pictures that are evaluated")
        flip: float = Field(0.5, ge=0, le=1, description="chance of a mirror image")
        vertical_flip: float = Field(0.0, ge=0, le=1, description="chance that a picture is upside down")
        scale: float = Field(0.0, ge=0, lt=1, description="training pictures are scaled by 1 +- this")
        move: float = Field(0.0, ge=0, lt=1, description="and moved by up to this share of their size")
        jitter: float = Field(0.2, ge=0, lt=1, description="change of brightness, contrast, saturation and gamma")
        mosaic: float = Field(0.0, ge=0, le=1, description="chance that a training picture is put together from four")
        pretrained: str | None = Field(None, description="weights to start from: a run folder, or a file")
        pretrained_backbone: str | None = Field(None, description="torchvision's ResNet-50 weights, for 'detr_r50'")

    def __init__(self, settings: Settings, data: Any):
        self.settings, self.data = settings, data
        self.classify = CLASSIFICATION[settings.classification](settings)
        self.task = TASKS[settings.model](settings, self.classify)

    # ---------------------------------------------------------------------------------------------------- data
    def datasets(self) -> Splits:
        """Procedural pictures made on the fly, or real ones by name and folder; see docs/detection.md for the names."""
        return Splits.of(self.data, self._dataset)

    def _dataset(self, source: Source, split: str) -> Dataset[Any]:
        s, training = self.settings, split == "train"
        if source.name in PROCEDURAL:
            if tuple(s.classes) != SHAPES:
                raise ValueError(f"'{source.name}' has the classes {', '.join(SHAPES)}; recipe.classes has others")
            samples = s.train_samples if training else s.val_samples
            seed = {"train": 1, "val": 2, "test": 3}[split]
            return PROCEDURAL[source.name](samples, seed=seed, fixed=not training)
        sides = s.short_sides if training or s.short_sides is None else s.short_sides[-1:]
        return detection_dataset(
            source.name,
            source.folder(split),
            classes=s.classes,
            split=split,
            other_classes=s.other_classes,
            short_sides=sides,
            longest=s.longest,
            crop=s.crop if training else 0.0,
        )

    def collate(self, samples: list[Batch]) -> Batch:
        """Padded to multiples of 32 px, with a mask."""
        return collate_pictures(samples, padding=self.settings.padding, masked=self.settings.mask)

    def describe(self, dataset: Dataset[Any]) -> list[str]:
        """Boxes of each class, empty pictures, boxes outside their picture."""
        if isinstance(dataset, DetectionDataset):
            return dataset.describe()
        return describe_samples(dataset, self.settings.classes)

    # --------------------------------------------------------------------------------------------------- model
    def model(self) -> nn.Module:
        return MODELS[self.settings.model](self.settings, self.classify)

    def initialize(self, model: nn.Module) -> None:
        """Weights from files, as far as they fit; tells what did and what did not."""
        s = self.settings
        if s.pretrained_backbone is not None:
            if s.model != "detr_r50":
                raise ValueError(f"recipe.pretrained_backbone is for 'detr_r50', and recipe.model is '{s.model}'")
            log.info("%s", load_matching(model.get_submodule("backbone.0.body"), s.pretrained_backbone))
        if s.pretrained is not None:
            log.info("%s", load_matching(model, weights_file(s.pretrained, recipe="recipes/detection.py")))

    # -------------------------------------------------------------------------------------------- augmentation
    def augmentation(self) -> nn.Module:
        """Flips, scale, place and colours; four pictures in one if asked for."""
        s = self.settings
        return DetectionAugmentation(
            flip=s.flip,
            vertical_flip=s.vertical_flip,
            scale=s.scale,
            move=s.move,
            jitter=s.jitter,
            mosaic=s.mosaic,
            fill=MEAN if s.padding == "mean" else (0.0, 0.0, 0.0),
        )

    # -------------------------------------------------------------------------------------------------- losses
    def losses(self, model: nn.Module, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self.task.terms(self.task.ask(model, batch), batch)  # type: ignore[arg-type]

    def losses_from(self, outputs: Outputs, batch: Batch, progress: Progress) -> dict[str, torch.Tensor]:
        return self.task.terms(outputs.answer, batch)  # type: ignore[arg-type]

    def predict(self, model: nn.Module, batch: Batch) -> Outputs:
        """Up to 100 boxes in each picture, in its px."""
        return self._outputs(self.task.ask(model, batch), batch)

    def _outputs(self, answer: Any, batch: Batch) -> Outputs:
        return Outputs(answer, self.task.detections(answer, batch))

    # ------------------------------------------------------------------------------------------------- metrics
    def metrics(self) -> dict[str, Metric]:
        return {"scores": DetectionScores(self.settings.classes, output_transform=lambda out: (out[0].found, out[1]))}

    def baseline(self, splits: Splits) -> Callable[[nn.Module, Batch], Outputs]:
        """The mean box of each class, in every picture."""
        mean = MeanBoxes.fit(splits.val, self.settings.classes)
        return lambda model, batch: self._outputs(self.task.constant(mean.boxes, mean.scores, batch), batch)

    def signals(self, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        """``no_object_share``: of the queries that say there is nothing; near 1 for a network that has given up."""
        return {"no_object_share": self.task.silent_share(*outputs)}  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------------ settings
    def traits(self) -> Traits:
        s, source = self.settings, "the detection document"
        rates = {"small": Rate(1e-3, 16, source), "detr_r50": Rate(1e-4, 32, "Carion et al., 2020")}
        tuned = s.pretrained is not None
        return Traits(
            transformer=isinstance(self.task, SetDetection),
            pretrained=tuned,
            rate=Rate(5e-5, 2, source) if tuned else rates.get(s.model),
            score=("val/ap", "max"),
            metrics=(*NAMES, "count_error"),
        )

    def objections(self, config: Any) -> Iterator[dict[str, Any]]:
        return detection_objections(config)

    # ------------------------------------------------------------------------------------------------ pictures
    def pictures(self, batch: Batch, outputs: Outputs) -> dict[str, torch.Tensor]:
        """Boxes with class and score, and the truth beside."""
        sizes, strips = picture_sizes(batch["mask"]).int().tolist(), {}
        rows = zip(batch["image"], sizes, outputs.found, batch["boxes"], batch["labels"])
        for number, (image, (width, height, *_), found, boxes, labels) in enumerate(rows, start=1):
            shown = image[:, :height, :width]
            strips[f"detection-{number}"] = detection_strip(shown, found, boxes, labels, self.settings.classes)
        return strips
