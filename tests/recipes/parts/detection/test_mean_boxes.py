import torch

from recipes.parts.detection.mean_boxes import MeanBoxes


def sample(labels, *boxes):
    return {
        "image": torch.zeros(3, 10, 20),
        "boxes": torch.tensor(boxes).reshape(-1, 4),
        "labels": torch.tensor(labels),
    }


class Unreadable(list):
    def __getitem__(self, index):
        if index == 2:
            raise ValueError("cut short")
        return super().__getitem__(index)


def test_what_cannot_be_read_is_left_to_the_evaluation():
    mean = MeanBoxes.fit(Unreadable([sample([0], [0.0, 0, 20, 10])] * 4), ["a"])
    assert mean.scores.tolist() == [1.0]


def test_a_box_of_each_class_as_likely_as_a_picture_has_it():
    data = [
        sample([0, 0], [0.0, 0, 10, 10], [10.0, 0, 20, 10]),
        sample([1], [0.0, 0, 20, 5]),
        sample([0], [5.0, 0, 15, 10]),
        {**sample([]), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    mean = MeanBoxes.fit(data, ["a", "b", "c"])
    assert mean.boxes.tolist() == [[0.5, 0.5, 0.5, 1.0], [0.5, 0.25, 1.0, 0.5], [0, 0, 0, 0]]
    assert mean.scores.tolist() == [0.5, 0.25, 0.0]
