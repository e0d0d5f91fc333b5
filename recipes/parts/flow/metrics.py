"""The usual errors of optical flow in one pass, each beside that of no flow at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce

from recipes.parts.flow.occlusion import leads_inside
from recipes.parts.warping import warp

Batch = Mapping[str, Any]
Outputs = Mapping[str, torch.Tensor]
SPEEDS = (("s10", 0.0, 10.0), ("s10_50", 10.0, 50.0), ("s50", 50.0, float("inf")))  # px, as AnimeRun's evaluator
PARTS = ("", "_visible", "_occluded", "_line", "_flat", *(f"_{name}" for name, _, _ in SPEEDS), "_all")
NAMES = (*(f"epe{part}" for part in PARTS), *(f"zero_epe{part}" for part in PARTS), "px1", "px3", "px5", "fl_all",
         "mean_flow", "mean_flow_true", "photometric_gain")  # fmt: skip


class FlowErrors(Metric):
    """Errors of a flow over all valid pixels of a set: a pixel counts the same in whatever frame it stands.

    It is fed ``(outputs, batch)``: a dict with the prediction ``forward`` [B,T-1,2,H,W] in px, and the batch of the
    flow recipe. One object writes all of these into ``engine.state.metrics``, under their own names whatever it is
    attached as:

    - ``epe``: mean distance between the predicted and the true end of the motion, px
    - ``epe_visible``, ``epe_occluded``: where the next frame shows what moves, and where not
    - ``epe_line``, ``epe_flat``: on outlines, and elsewhere
    - ``epe_s10``, ``epe_s10_50``, ``epe_s50``: where the true motion is at most 10 px, above that to 50 px, above that
    - ``epe_all``: over all pixels with a number in the file, those too that are not valid since it is too large.
      AnimeRun's evaluator means to leave these out, and then counts every pixel as valid: this is what it gives
    - ``zero_epe`` and, for each of these parts, ``zero_epe_...``: the same of no flow at all
    - ``px1``, ``px3``, ``px5``: percent of pixels that are right within 1, 3, 5 px
    - ``fl_all``: percent wrong by more than 3 px and more than 5 % of the true motion (KITTI 2015)
    - ``mean_flow``, ``mean_flow_true``: mean length of the predicted and of the true motion, px
    - ``photometric_gain``: 1 - a / b, with a the mean difference of a frame to the next one sampled by the flow, and b
      to the next one as it is; over pixels that the flow leaves in the picture. 0 for no flow, below 0 for a bad one

    A part that has no pixel in the whole set is left out; so is all but ``mean_flow`` (over every pixel then) and
    ``photometric_gain`` where there is no truth. A prediction that is not finite is wrong in the shares and makes the
    means not finite. Sums are float64 on the device; nothing waits for it before ``compute``, which adds up all
    processes.

    >>> truth = torch.tensor([3.0, 4.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 4, 4)
    >>> there = torch.ones(1, 1, 1, 4, 4, dtype=torch.bool)
    >>> batch = {"frames": torch.rand(1, 2, 3, 4, 4), "flow": truth, "valid": there, "visible": there,
    ...          "occluded": ~there, "line": there.repeat(1, 2, 1, 1, 1), "flat": ~there.repeat(1, 2, 1, 1, 1)}
    >>> metric = FlowErrors()
    >>> metric.update(({"forward": truth + 1.0}, batch))
    >>> {name: round(value, 2) for name, value in metric.compute().items() if name in ("epe", "zero_epe", "px1", "px3")}
    {'epe': 1.41, 'px1': 0.0, 'px3': 100.0, 'zero_epe': 5.0}
    """

    def __init__(self, **options: Any):
        # Flattened: the values under their own names, and no dict among the numbers of `engine.state.metrics`.
        super().__init__(metrics_result_mode="flatten", **options)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sums = torch.zeros(3 * len(PARTS) + 9, dtype=self._double_dtype, device=self._device)

    @reinit__is_reduced
    def update(self, output: tuple[Outputs, Batch]) -> None:
        outputs, batch = output
        flow, truth, valid = outputs["forward"], batch["flow"], batch["valid"]
        if flow.shape != truth.shape or valid.shape != truth[:, :, :1].shape:
            raise ValueError(
                f"prediction {tuple(flow.shape)}, flow {tuple(truth.shape)} and valid {tuple(valid.shape)}; "
                "wanted twice [B,T-1,2,H,W] and [B,T-1,1,H,W]"
            )
        sums = _sum_batch(flow.detach().float(), batch)
        self._sums = self._sums.to(sums.device) + sums

    @sync_all_reduce("_sums")
    def compute(self) -> dict[str, float]:
        """The errors by name."""
        sums = self._sums.tolist()
        counts, errors, lengths = (sums[k * len(PARTS) : (k + 1) * len(PARTS)] for k in range(3))
        within = dict(zip(("px1", "px3", "px5", "fl_all"), sums[3 * len(PARTS) :]))
        mean_flow, all_flow, pixels, differs, differs_unmoved = sums[3 * len(PARTS) + 4 :]
        found = {f"epe{part}": error / count for part, error, count in zip(PARTS, errors, counts) if count}
        found |= {name: 100.0 * value / counts[0] for name, value in within.items() if counts[0]}
        found |= {f"zero_epe{part}": length / count for part, length, count in zip(PARTS, lengths, counts) if count}
        found["mean_flow"] = mean_flow / counts[0] if counts[0] else all_flow / max(pixels, 1.0)
        if counts[0]:
            found["mean_flow_true"] = lengths[0] / counts[0]
        found["photometric_gain"] = 1.0 - differs / differs_unmoved if differs_unmoved else 0.0
        return found


def photometric_differences(flow: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed |first - second| with and without ``flow`` [B,T-1,2,H,W] px of ``frames`` [B,T,3,H,W]; two of 0 dim."""
    first, second = frames[:, :-1].flatten(0, 1).float(), frames[:, 1:].flatten(0, 1).float()
    flow = flow.flatten(0, 1).float()
    inside = leads_inside(flow)
    moved = (warp(second, torch.nan_to_num(flow), border=True) - first).abs().mean(dim=1, keepdim=True)
    unmoved = (second - first).abs().mean(dim=1, keepdim=True)
    return torch.where(inside, moved, 0.0).sum(), torch.where(inside, unmoved, 0.0).sum()


class ZeroFlow:
    """Predicts that nothing moves: what a model must beat. It is called as the recipe's ``predict`` is."""

    def __call__(self, model: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """No flow, forth and back, [B,T-1,2,H,W] px each."""
        return {name: torch.zeros_like(batch["flow"]) for name in ("forward", "backward")}


def _sum_batch(flow: torch.Tensor, batch: Batch) -> torch.Tensor:
    truth, valid = batch["flow"].float(), batch["valid"]
    told = valid | (truth.isfinite().all(dim=2, keepdim=True) & (truth != 0).any(dim=2, keepdim=True))
    truth = torch.where(told, truth, 0.0)
    error = torch.where(told, flow - truth, 0.0).norm(dim=2, keepdim=True)
    length, found = truth.norm(dim=2, keepdim=True), flow.norm(dim=2, keepdim=True)
    steps = truth.shape[1]
    parts = [valid, valid & batch["visible"], valid & batch["occluded"]]
    parts += [valid & batch[name][:, :steps] for name in ("line", "flat")]
    parts += [valid & (length > low) & (length <= high) if low else valid & (length <= high) for _, low, high in SPEEDS]
    parts.append(told)
    # "not within" where the bad are counted: every comparison with NaN is false.
    shares = [valid & (error <= limit) for limit in (1.0, 3.0, 5.0)]
    shares += [valid & ~(error <= 3.0) & ~(error <= 0.05 * length)]
    means = [torch.where(valid, found, 0.0), found, torch.ones_like(found)]
    summands = [*parts, *(torch.where(part, error, 0.0) for part in parts)]
    summands += [*(torch.where(part, length, 0.0) for part in parts), *shares, *means]
    dtype = torch.float64 if flow.device.type != "mps" else torch.float32
    sums = [summand.sum(dtype=dtype) for summand in summands]
    sums += [difference.to(dtype) for difference in photometric_differences(flow, batch["frames"])]
    return torch.stack(sums)
