import pytest
import torch

from recipes.parts.detection.detr_net import Detr
from recipes.parts.pretrained import load_matching


def public_shapes(classes=92, queries=100):
    """Names and shapes of the public detr-r50 file."""
    shapes = {
        "query_embed.weight": (queries, 256), "input_proj.weight": (256, 2048, 1, 1), "input_proj.bias": (256,),
        "class_embed.weight": (classes, 256), "class_embed.bias": (classes,),
        "transformer.decoder.norm.weight": (256,), "transformer.decoder.norm.bias": (256,),
    }  # fmt: skip
    for number, (out, inner) in enumerate([(256, 256), (256, 256), (4, 256)]):
        shapes |= {f"bbox_embed.layers.{number}.weight": (out, inner), f"bbox_embed.layers.{number}.bias": (out,)}
    for part, attentions, norms in (("encoder", ["self_attn"], 2), ("decoder", ["self_attn", "multihead_attn"], 3)):
        for number in range(6):
            layer = f"transformer.{part}.layers.{number}"
            for name in attentions:
                shapes |= {
                    f"{layer}.{name}.in_proj_weight": (768, 256), f"{layer}.{name}.in_proj_bias": (768,),
                    f"{layer}.{name}.out_proj.weight": (256, 256), f"{layer}.{name}.out_proj.bias": (256,),
                }  # fmt: skip
            shapes |= {f"{layer}.linear1.weight": (2048, 256), f"{layer}.linear1.bias": (2048,)}
            shapes |= {f"{layer}.linear2.weight": (256, 2048), f"{layer}.linear2.bias": (256,)}
            for norm in range(1, norms + 1):
                shapes |= {f"{layer}.norm{norm}.weight": (256,), f"{layer}.norm{norm}.bias": (256,)}
    body = "backbone.0.body"
    shapes |= {f"{body}.conv1.weight": (64, 3, 7, 7), **norm_of(f"{body}.bn1", 64)}
    inputs = 64
    for number, blocks in enumerate((3, 4, 6, 3), start=1):
        width = 32 * 2**number
        for block in range(blocks):
            place = f"{body}.layer{number}.{block}"
            kernels = [(width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            for index, kernel in enumerate(kernels, start=1):
                shapes |= {f"{place}.conv{index}.weight": kernel, **norm_of(f"{place}.bn{index}", kernel[0])}
            if block == 0:
                around = f"{place}.downsample"
                shapes |= {f"{around}.0.weight": (4 * width, inputs, 1, 1), **norm_of(f"{around}.1", 4 * width)}
            inputs = 4 * width
    return shapes


def norm_of(name, width):
    return {f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


def test_a_public_state_dict_fits_whole(tmp_path):
    state = {name: torch.randn(shape) for name, shape in public_shapes().items()}
    torch.save({"model": state}, tmp_path / "detr-r50.pth")
    model = Detr(92)
    report = load_matching(model, tmp_path / "detr-r50.pth")
    assert len(report.matched) == len(state)
    assert report.missing == report.unused == ()
    assert report.other_shape == {}
    assert sum(p.numel() for p in model.parameters()) == 41_524_768  # the paper's 41 M; frozen norms are buffers
    assert torch.equal(model.transformer.decoder.layers[3].multihead_attn.in_proj_weight,
                       state["transformer.decoder.layers.3.multihead_attn.in_proj_weight"])  # fmt: skip


def test_other_classes_leave_out_the_class_layer_alone():
    state = {name: torch.zeros(shape) for name, shape in public_shapes().items()}
    report = load_matching(Detr(15), state)
    assert set(report.other_shape) == {"class_embed.weight", "class_embed.bias"}


@torch.no_grad()
def test_an_answer_does_not_change_when_the_padding_grows():
    torch.manual_seed(0)
    model, picture, found = Detr(5, queries=7, layers=1).eval(), torch.rand(3, 50, 61), []
    for height, width in ((64, 64), (96, 160)):
        image, mask = torch.full((1, 3, height, width), 0.4), torch.zeros(1, height, width, dtype=torch.bool)
        image[0, :, :50, :61], mask[0, :50, :61] = picture, True
        found.append(model(image, mask).layers[-1])
    assert found[0].boxes.shape == (1, 7, 4)
    assert (found[0].logits - found[1].logits).abs().max() < 1e-4
    assert (found[0].boxes - found[1].boxes).abs().max() < 1e-5


def test_all_layers_answer():
    model = Detr(5, queries=3, layers=2)
    assert len(model(torch.rand(1, 3, 32, 32), torch.ones(1, 32, 32, dtype=torch.bool)).layers) == 2
    with pytest.raises(RuntimeError):
        model.load_state_dict({"class_embed.weight": torch.zeros(6, 256)}, strict=False)
