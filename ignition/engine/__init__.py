"""The training step and the evaluation, as plain ignite engines, and what they do where memory is too small."""

from ignition.engine.evaluation_step import EvaluationStep, build_evaluator
from ignition.engine.micro_batches import MicroBatches, OutOfMemory, is_out_of_memory, is_too_few
from ignition.engine.training_step import BeforeBackward, StepOutput, TrainStep, build_trainer

__all__ = [
    "BeforeBackward",
    "EvaluationStep",
    "MicroBatches",
    "OutOfMemory",
    "StepOutput",
    "TrainStep",
    "build_evaluator",
    "build_trainer",
    "is_out_of_memory",
    "is_too_few",
]
