"""Drawn cores: functions of (seed, number) alone, alike within and different between."""

import time

import torch

from recipes.parts.staining.core import Window
from recipes.parts.staining.procedural_cores import ProceduralCore


def test_a_core_depends_on_seed_and_number_alone():
    window = Window(8, 16, 40, 48)
    torch.manual_seed(1)
    first, again = (ProceduralCore(3, side=96, seed=5).read(window) for _ in range(2))
    others = ProceduralCore(4, side=96, seed=5), ProceduralCore(3, side=96, seed=6)

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first["he"], other.read(window)["he"]) for other in others)
    assert len({core.id for core in (*others, ProceduralCore(3, side=96, seed=5))}) == 3


def test_a_window_is_a_part_of_the_whole():
    core = ProceduralCore(0, side=80)
    whole, part = core.read(Window(0, 0, 80, 80)), core.read(Window(10, 20, 30, 40))

    assert core.size == (80, 80)
    for name, value in part.items():
        assert torch.equal(value, whole[name][:, 10:40, 20:60])


def test_pictures_are_in_range_and_markers_are_whole_numbers_of_16_bits():
    sample = ProceduralCore(1).read(Window(0, 0, 160, 160))

    assert 0 <= sample["he"].min() < 0.3 and 0.9 < sample["he"].max() <= 1
    assert sample["target"].min() >= 0 and 3000 < sample["target"].max() < 65536
    assert torch.equal(sample["target"], sample["target"].round())
    assert sample["valid"].all()


def test_stains_differ_between_cores_more_than_within():
    def background(core, half):
        he = core.read(Window(0, 80 * half, 160, 80))["he"]
        return he.flatten(1).median(1).values

    cores = [ProceduralCore(number) for number in range(6)]
    within = torch.stack([background(core, 0) - background(core, 1) for core in cores]).square().mean()
    shifted = torch.stack([background(ProceduralCore(n, shift=3.0), 0) for n in range(6)])
    plain = torch.stack([background(core, 0) for core in cores])

    assert plain.var(0).mean() > within / 2
    assert shifted.var(0).mean() > 2 * plain.var(0).mean()


def test_drawing_takes_some_hundredths_of_a_second():
    start = time.process_time()
    ProceduralCore(9).read(Window(0, 0, 8, 8))

    assert time.process_time() - start < 0.4  # measured: 0.04
