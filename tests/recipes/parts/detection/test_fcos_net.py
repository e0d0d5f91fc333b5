import torch

from recipes.parts.detection.fcos_net import FcosNet


def test_it_has_terms_in_training_and_detections_in_evaluation():
    torch.manual_seed(0)
    model = FcosNet(3)
    image, mask = torch.rand(2, 3, 64, 96), torch.ones(2, 64, 96, dtype=torch.bool)
    mask[1, :, 50:] = False
    truth = [
        {"boxes": torch.tensor([[10.0, 10, 40, 40]]), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    training = model(image, mask, truth)
    assert set(training.terms) == {"class", "giou", "centre"}
    assert training.found == []
    sum(training.terms.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        model.detector.head.classification_head.cls_logits.bias.fill_(3.0)
        found = model.eval()(image, mask).found
    assert len(found) == 2
    assert found[1].boxes[:, 2].max() <= 50  # cut at the border of the picture, not of the padding
    assert (found[0].scores.diff() <= 0).all()
    assert model(image, mask).terms == {}
