"""Pictures of several sizes to one batch, padded on the right and at the bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

MULTIPLE = 32  # px
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1
LISTS = ("boxes", "labels", "crowd")
Padding = Literal["mean", "zero"]


def collate_pictures(
    samples: Sequence[Mapping[str, torch.Tensor]], *, padding: Padding = "mean", masked: bool = True
) -> dict[str, Any]:
    """Samples (`recipes.parts.detection.boxed_picture`) to a batch whose height and width are multiples of 32.

    ``image`` [B,3,H,W] in 0..1; ``mask`` bool [B,H,W], true where there is a picture; ``scale`` [B,2]; ``boxes``,
    ``labels`` and ``crowd`` are lists with a tensor for each picture.

    Args:
        padding: ``mean`` fills with ImageNet's mean colour, which is nought after normalisation. Common code normalises
            first and pads with the mean then, or pads with black: both are colours that no picture goes on with.
        masked: False gives a mask that is true everywhere, so that a network takes the padding for a part of the
            picture; for comparison.

    >>> def picture(height, width):
    ...     return {"image": torch.zeros(3, height, width), "boxes": torch.zeros(0, 4), "scale": torch.ones(2),
    ...             "labels": torch.zeros(0, dtype=torch.long), "crowd": torch.zeros(0, dtype=torch.bool)}
    >>> batch = collate_pictures([picture(40, 30), picture(20, 33)])
    >>> batch["image"].shape, batch["mask"].sum((1, 2)).tolist(), round(float(batch["image"][0, 0, 0, 40]), 3)
    (torch.Size([2, 3, 64, 64]), [1200, 660], 0.485)
    """
    sizes = [sample["image"].shape[-2:] for sample in samples]
    height, width = (-(-max(size[axis] for size in sizes) // MULTIPLE) * MULTIPLE for axis in (0, 1))
    fill = torch.tensor(MEAN if padding == "mean" else (0.0, 0.0, 0.0)).view(1, 3, 1, 1)
    image = fill.repeat(len(samples), 1, height, width)
    mask = torch.full((len(samples), height, width), not masked)
    for number, (sample, (rows, columns)) in enumerate(zip(samples, sizes)):
        image[number, :, :rows, :columns] = sample["image"]
        mask[number, :rows, :columns] = True
    return {
        "image": image,
        "mask": mask,
        "scale": torch.stack([sample["scale"] for sample in samples]),
        **{name: [sample[name] for sample in samples] for name in LISTS},
    }


def picture_sizes(mask: torch.Tensor) -> torch.Tensor:
    """Width, height, width, height in px of the pictures in a batch, float32 [B,4]: what boxes are divided by.

    Args:
        mask: bool [B,H,W], true where there is a picture, which begins at the upper left corner.

    >>> mask = torch.zeros(1, 4, 8, dtype=torch.bool)
    >>> mask[0, :3, :5] = True
    >>> picture_sizes(mask).tolist()
    [[5.0, 3.0, 5.0, 3.0]]
    """
    size = torch.stack([mask[:, 0].sum(1), mask[:, :, 0].sum(1)], dim=1).float()
    return size.repeat(1, 2)


def normalised(image: torch.Tensor) -> torch.Tensor:
    """``image`` [B,3,H,W] in 0..1 as networks take it: ImageNet's mean becomes 0, its deviation 1."""
    mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (image - mean) / deviation
