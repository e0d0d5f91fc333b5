"""A model over many processes: which parts of it travel together, and what is refused."""

import pytest
from torch import nn

from ignition.assembly.processes import blocks
from ignition.config import ConfigError, load_config


class Encoder(nn.Module):
    """Blocks in a list, and torch's own layers, which reach into each other's weights."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(10, 400)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(200, 4, 400) for _ in range(3)])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.middle = nn.Linear(400, 400)
        self.parts = nn.ModuleDict({"wide": nn.Linear(400, 400), "narrow": nn.Linear(4, 4)})
        self.out = nn.Linear(400, 300)
        self.back = nn.Linear(400, 300)
        self.back.weight = self.out.weight


def test_large_parts_travel_by_themselves_and_tied_ones_with_the_whole():
    model = Model()
    named = {id(module): name for name, module in model.named_modules()}
    assert [named[id(block)] for block in blocks(model)] == [
        "encoder.layers.0", "encoder.layers.1", "encoder.layers.2", "middle", "parts.wide",
    ]  # fmt: skip


def test_a_model_of_one_small_part_travels_as_a_whole():
    assert blocks(nn.Linear(9, 9)) == []


def test_all_that_cannot_be_shared_out_is_told_at_once():
    settings = [
        "trainer.parallel=fsdp2", "trainer.compile=true", "trainer.amp=fp16", "optimizer.name=Muon", "clip.kind=agc",
        "logging.shadow_clipping=[agc]", "checkpoint.snapshots=true",
    ]  # fmt: skip
    with pytest.raises(ConfigError) as refusal:
        load_config(None, overrides=settings)
    told = str(refusal.value)
    for place in (
        "trainer.compile",
        "trainer.amp",
        "optimizer.name",
        "clip.kind",
        "logging.shadow_clipping",
        "checkpoint.snapshots",
    ):
        assert f"{place}" in told and "with trainer.parallel: fsdp2" in told, told
