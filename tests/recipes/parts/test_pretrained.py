"""Loading what fits, refusing what could run code, and parts that stay frozen."""

import copy
import io
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from recipes.parts.pretrained import freeze, load_matching, read_state_dict, unfreeze


def make_model(head=2):
    return nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "head": nn.Linear(4, head)})


def run_model(model, x):
    return model["head"](model["encoder"](x))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_the_whole_model_comes_back():
    torch.manual_seed(0)
    saved, model = make_model(), make_model()

    report = load_matching(model, saved.state_dict())

    assert equal(model, saved) and len(report.matched) == 9
    assert report.missing == report.unused == () and report.other_shape == {}
    assert str(report) == "state dict: 9 of the model's 9 tensors loaded"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_wrappers_put_before_names_does_not_count(prefix):
    torch.manual_seed(0)
    saved, model = make_model(), make_model()

    load_matching(model, {prefix + name: value for name, value in saved.state_dict().items()})

    assert equal(model, saved)


def test_a_compiled_part_inside_and_a_wrapped_model_to_load_into():
    torch.manual_seed(0)
    saved, wrapped = make_model(), nn.Module()
    wrapped.module = make_model()
    inside = {name.replace("encoder.", "encoder._orig_mod."): value for name, value in saved.state_dict().items()}

    report = load_matching(wrapped, inside)

    assert equal(wrapped.module, saved) and report.matched[0] == "module.encoder.0.weight"


def test_every_kind_of_difference_is_reported():
    torch.manual_seed(0)
    state, model = make_model(head=5).state_dict(), make_model(head=2)
    before = model["head"].weight.clone()
    state["extra.weight"] = torch.ones(1)
    del state["encoder.0.bias"]

    report = load_matching(model, state)

    assert len(report.matched) == 6
    assert report.missing == ("encoder.0.bias",) and report.unused == ("extra.weight",)
    assert report.other_shape == {"head.weight": ((2, 4), (5, 4)), "head.bias": ((2,), (5,))}
    assert torch.equal(model["head"].weight, before)
    assert str(report).splitlines() == [
        "state dict: 6 of the model's 9 tensors loaded",
        "  not in the file, left as they were (1): encoder.0.bias",
        "  not used (1): extra.weight",
        "  another shape, left as they were (2): head.weight (2, 4) here, (5, 4) in the file; "
        "head.bias (2,) here, (5,) in the file",
    ]


def test_a_prefix_picks_a_part():
    torch.manual_seed(0)
    saved, encoder = make_model(), make_model()["encoder"]

    report = load_matching(encoder, saved.state_dict(), prefix="encoder.")

    assert equal(encoder, saved["encoder"]) and report.missing == report.unused == ()


@pytest.mark.parametrize("content", ["plain", "model", "state_dict"])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_file_of_a_state_dict_or_of_a_checkpoint(tmp_path, content, suffix):
    torch.manual_seed(0)
    saved, model = make_model(), make_model()
    state = saved.state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state if content == "plain" else {content: state, "iteration": 7, "optimizer": {"state": {}}}, path)

    report = load_matching(model, path)

    assert equal(model, saved) and str(report).startswith(f"{path}: 9 of")


def test_a_model_with_a_part_named_model_is_no_checkpoint(tmp_path):
    torch.save({"model.weight": torch.ones(1, 2)}, tmp_path / "a.pt")

    assert set(read_state_dict(tmp_path / "a.pt")) == {"model.weight"}


def test_nothing_that_fits_is_an_error_with_examples_of_both():
    with pytest.raises(ValueError, match=r"weight \(1, 2\).*In the file: backbone.w \(3,\)") as error:
        load_matching(nn.Linear(2, 1), {"backbone.w": torch.ones(3)})
    assert "nothing in it fits" in str(error.value)
    with pytest.raises(ValueError, match="prefix"):
        load_matching(nn.Linear(2, 1), nn.Linear(2, 1).state_dict(), prefix="encoder.")


def test_a_counter_alone_is_not_weights():
    model = nn.BatchNorm1d(4)

    with pytest.raises(ValueError, match="nothing in it fits"):
        load_matching(model, nn.BatchNorm1d(5).state_dict())
    assert model.num_batches_tracked == 0


def test_a_file_that_could_run_code_is_refused(tmp_path):
    torch.save(nn.Linear(2, 1), tmp_path / "whole_model.pth")  # a pickled object, not its tensors
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(io.BytesIO(), protocol=2))

    for name in ("whole_model.pth", "plain.pth"):
        with pytest.raises(ValueError, match=f"{name}: refused.*could run code"):
            load_matching(nn.Linear(2, 1), tmp_path / name)


def test_files_that_are_missing_cut_short_or_of_something_else(tmp_path):
    torch.save(nn.Linear(200, 100).state_dict(), tmp_path / "a.pt")
    (tmp_path / "short.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:5000])
    (tmp_path / "empty.pt").touch()
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"lr": 0.1}, tmp_path / "numbers.pt")

    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt: no such file of weights"):
        load_matching(nn.Linear(2, 1), tmp_path / "nowhere.pt")
    for name in ("short.pt", "empty.pt"):
        with pytest.raises(ValueError, match=f"{name}: (cannot be read|refused)"):
            load_matching(nn.Linear(2, 1), tmp_path / name)
    with pytest.raises(ValueError, match="holds no tensors by name but list"):
        load_matching(nn.Linear(2, 1), tmp_path / "list.pt")
    with pytest.raises(ValueError, match="but a dict of lr"):
        load_matching(nn.Linear(2, 1), tmp_path / "numbers.pt")


def test_safetensors_are_read_and_damaged_ones_told(tmp_path):
    path, source, model = tmp_path / "a.safetensors", nn.Linear(2, 1), nn.Linear(2, 1)
    save_file(source.state_dict(), path)
    assert len(load_matching(model, path).matched) == 2
    assert torch.equal(model.weight, source.weight)

    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"a\.safetensors: cannot be read, perhaps cut short"):
        load_matching(nn.Linear(2, 1), path)


def train_once(model):
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    run_model(model, torch.rand(8, 3)).sum().backward()
    optimizer.step()


def test_a_frozen_part_changes_in_no_way_while_the_rest_learns():
    torch.manual_seed(0)
    model = make_model()
    freeze(model["encoder"])
    before = copy.deepcopy(model)

    train_once(model)

    assert equal(model["encoder"], before["encoder"])  # BatchNorm's statistics among them
    assert not equal(model["head"], before["head"])
    assert not model["encoder"].training and not model["encoder"][1].training and model["head"].training
    assert all(p.grad is None for p in model["encoder"].parameters())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_frozen_on_its_own(copied):
    model = make_model()
    freeze(model["encoder"])

    other = copied(model).train()
    unfreeze(model["encoder"])

    assert not other["encoder"].training and not other["encoder"][1].training
    assert model["encoder"].training and other["encoder"].train() is other["encoder"]


def test_unfrozen_it_learns_again():
    torch.manual_seed(0)
    model = make_model()
    freeze(model["encoder"])
    unfreeze(model["encoder"])
    before = copy.deepcopy(model)

    train_once(model)

    assert not torch.equal(model["encoder"][1].running_mean, before["encoder"][1].running_mean)
    assert not torch.equal(model["encoder"][0].weight, before["encoder"][0].weight)
    assert not model.eval()["encoder"].training
