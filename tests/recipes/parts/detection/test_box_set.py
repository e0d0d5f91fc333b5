import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.parts.detection.box_set import BoxHead, moved, strongest

shares = st.floats(0, 1)


@given(st.lists(shares, min_size=4, max_size=4), st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_a_moved_box_stays_in_the_picture(box, by):
    found = moved(torch.tensor([box]), torch.tensor([by]))
    assert found.isfinite().all()
    assert ((found >= 0) & (found <= 1)).all()


def test_no_move_leaves_a_box_where_it_is():
    box = torch.tensor([[0.1, 0.9, 0.3, 0.02]])
    assert moved(box, torch.zeros(1, 4)).tolist() == [pytest.approx(box[0].tolist(), abs=1e-6)]
    assert torch.equal(BoxHead(8)(torch.rand(3, 8)), torch.zeros(3, 4))  # as a head says at first


def test_the_best_pairs_of_query_and_class_come_in_px_and_cut_at_the_border():
    scores = torch.tensor([[[0.1, 0.8], [0.7, 0.2]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.0, 0.0, 1.0, 1.0]]])
    (found,) = strongest(scores, boxes, torch.tensor([[10.0, 20.0, 10.0, 20.0]]), 3)
    assert found.scores.tolist() == pytest.approx([0.8, 0.7, 0.2])
    assert found.labels.tolist() == [1, 0, 1]
    assert found.boxes.tolist() == [pytest.approx(row) for row in ([4, 6, 6, 14], [0, 0, 5, 10], [0, 0, 5, 10])]
