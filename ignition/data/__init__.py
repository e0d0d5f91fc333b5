"""Samples in an order that is a pure function of (seed, epoch), and loaders that can start anywhere in it."""

from ignition.data.bad_sample import BadSample
from ignition.data.batch_sampler import BatchSampler
from ignition.data.evaluation_sampler import EvaluationSampler
from ignition.data.loader import Loader, describe
from ignition.data.sample_count import count_samples
from ignition.data.sample_key import SampleKey
from ignition.data.seeded_dataset import SeededDataset
from ignition.data.skipped_samples import SkippedSamples
from ignition.data.worker_pool import LostWorker

__all__ = [
    "BadSample",
    "BatchSampler",
    "EvaluationSampler",
    "Loader",
    "LostWorker",
    "SampleKey",
    "SeededDataset",
    "SkippedSamples",
    "count_samples",
    "describe",
]
