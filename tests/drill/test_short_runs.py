import pickle

from ignition.drill.short_runs import FewSamples


class Rows(list):
    root = "/data"


def test_few_samples_are_the_first_ones_and_the_dataset_shows_through():
    few = FewSamples(Rows([1, 2, 3]), 2)
    assert (len(few), few[1], few.root) == (2, 2, "/data")
    assert FewSamples([1, 2, 3], 7)[6] == 1
    assert pickle.loads(pickle.dumps(few))[0] == 1
