"""Samples that show every random number drawn for them, and loaders of them."""

import random

import numpy as np
import torch

from ignition.data import BatchSampler, Loader


class Noise(torch.utils.data.Dataset):
    """Samples that draw from every generator there is."""

    def __init__(self, length=12, broken=()):
        self.length, self.broken = length, broken

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError(f"/data/{index}.png: truncated")
        return {"index": index, "noise": torch.rand(2), "other": np.random.rand() + random.random()}


def seen(loader, epoch, batch=0):
    loader.sampler.seek(epoch=epoch, batch=batch)
    return [(b["index"].tolist(), b["noise"].tolist(), b["other"].tolist()) for b in loader]


def loader(workers=0, **keywords):
    dataset = Noise()
    return Loader(dataset, BatchSampler(len(dataset), 5, seed=7, **keywords), seed=7, workers=workers)
