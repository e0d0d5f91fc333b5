"""Each sample once, whoever takes it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ignition.data import EvaluationSampler


@given(length=st.integers(1, 40), batch_size=st.integers(1, 7), world=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_evaluation_sees_every_sample_exactly_once_over_all_processes(length, batch_size, world):
    indices = []
    for rank in range(world):
        sampler = EvaluationSampler(length, batch_size, rank=rank, world_size=world)
        mine = list(sampler)
        assert len(mine) == len(sampler)
        indices += [key.index for batch in mine for key in batch]
    assert sorted(indices) == list(range(length))
