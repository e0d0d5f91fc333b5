import io
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ignition.handlers import AGC, AutoClip, MaxNorm, MaxValue, ZClip, clipping_rules, gradients
from ignition.handlers.clipping_rules import Verdict
from ignition.handlers.gradients import Gradients

NAN, INF = math.nan, math.inf

RULES = {
    "max norm": lambda: MaxNorm(2.0),
    "max value": lambda: MaxValue(1.0),
    "agc": lambda: AGC(0.1),
    "auto clip": lambda: AutoClip(50, window=3),
    "zclip": lambda: ZClip(z=1.0, alpha=0.5, warmup=2),
}


def parameter(gradient, weight=0.0, dtype=torch.float32):
    gradient = torch.as_tensor(gradient, dtype=dtype)
    made = nn.Parameter(torch.full_like(gradient, weight))
    made.grad = gradient.clone()
    return made


@torch.no_grad()
def follow(rule, *parameters):
    """One step of a loop that follows the rule, without `GradientClipping`."""
    gradients = Gradients(parameters)
    verdict = rule.judge(gradients)
    rule.cut(gradients, verdict)
    return verdict


def feed(rule, norms):
    """The verdicts on gradients of these norms."""
    return [follow(rule, parameter([norm], dtype=torch.float64)) for norm in norms]


def state_of(rule):
    """What the rule remembers, in plain numbers."""
    state = rule.state_dict() if hasattr(rule, "state_dict") else {}
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in state.items()}


def norm_of(*parameters):
    return math.sqrt(sum(p.grad.abs().double().square().sum().item() for p in parameters))


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# ------------------------------------------------------------------------------------------------- each rule's numbers

elements = st.floats(-1e6, 1e6, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
some_gradients = st.lists(st.lists(elements, min_size=1, max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=50)
@given(some_gradients, st.floats(1e-3, 1e3))
def test_max_norm_leaves_at_most_the_limit_and_the_direction(gradients, limit):
    parameters = [parameter(gradient) for gradient in gradients]
    before = torch.cat([p.grad for p in parameters]).double()
    verdict = follow(MaxNorm(limit), *parameters)
    after = torch.cat([p.grad for p in parameters]).double()
    assert norm_of(*parameters) <= limit * (1 + 1e-5)
    assert verdict.clipped or torch.equal(before, after)
    torch.testing.assert_close(after * before.norm(), before * after.norm(), rtol=1e-5, atol=1e-30)


def units(tensor):
    return tensor.flatten(1).norm(dim=1) if tensor.ndim > 1 else tensor.norm().reshape(1)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([(3, 2), (2, 3, 3, 3), (2, 1, 4), (4,), ()]), min_size=1, max_size=4),
    st.sampled_from([1e-4, 0.01, 1.0, 100.0]),
    st.integers(0, 2**31),
)
def test_agc_leaves_no_unit_more_than_its_share(shapes, clipping, seed):
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator) * 10 ** torch.randn((), generator=generator)
    before = [p.grad.clone() for p in parameters]
    verdict = follow(AGC(clipping, eps=1e-3), *parameters)
    ratios, over = [], 0
    for p, gradient in zip(parameters, before, strict=True):
        weights = units(p.detach()).clamp(min=1e-3)
        ratios += (units(p.grad) / weights).tolist()
        over += (units(gradient) > clipping * weights).sum().item()
    assert max(ratios) <= clipping * (1 + 1e-5)
    assert verdict.clipped == pytest.approx(over / len(ratios))


def test_agc_knows_units_of_linear_layers_convolutions_and_vectors():
    linear, conv, bias, gain = nn.Linear(2, 2), nn.Conv2d(1, 2, 2), nn.Parameter(torch.tensor([3.0, 4.0])), 0
    gain = nn.Parameter(torch.tensor(2.0))
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))  # rows of norm 5 and 0, which counts as eps
        conv.weight.copy_(torch.ones(2, 1, 2, 2))  # two filters of norm 2
    linear.weight.grad = torch.tensor([[6.0, 8.0], [0.3, 0.4]])
    conv.weight.grad = torch.tensor([4.0, 0.1]).view(2, 1, 1, 1).expand(2, 1, 2, 2).clone()
    bias.grad = torch.tensor([0.0, 10.0])  # one unit as a whole, of norm 10 on 5
    gain.grad = torch.tensor(1.0)
    verdict = follow(AGC(0.5, eps=0.1), linear.weight, bias, conv.weight, gain)
    torch.testing.assert_close(linear.weight.grad, torch.tensor([[1.5, 2.0], [0.03, 0.04]]))
    torch.testing.assert_close(conv.weight.grad[:, 0, 0, 0], torch.tensor([0.5, 0.1]))
    torch.testing.assert_close(bias.grad, torch.tensor([0.0, 2.5]))
    assert gain.grad == 1.0  # at the limit is not over it
    assert (verdict.clipped, verdict.threshold) == (pytest.approx(4 / 6), None)


def test_agc_leaves_alone_what_it_was_told_to():
    trunk, head = nn.Linear(2, 2, bias=False), nn.Linear(2, 1)
    for p in (*trunk.parameters(), *head.parameters()):
        p.grad = torch.full_like(p, 100.0)
    verdict = follow(AGC(0.01, skip=head.parameters()), *trunk.parameters(), *head.parameters())
    assert verdict.clipped == 1.0  # both units that it looks after
    assert (trunk.weight.grad < 1).all()
    assert (head.weight.grad == 100).all()
    assert (head.bias.grad == 100).all()
    assert follow(AGC(skip=head.parameters()), *head.parameters()).clipped == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30), st.floats(0, 100), st.sampled_from([None, 1, 2, 7, 30]))
def test_auto_clip_takes_numpys_percentile_of_the_norms_so_far(norms, percentile, window):
    for step, verdict in enumerate(feed(AutoClip(percentile, window), norms), start=1):
        history = norms[:step][-(window or 1000) :]
        expected = np.percentile(history, percentile)
        assert verdict.threshold == pytest.approx(expected, rel=1e-12)
        assert verdict.clipped == (norms[step - 1] > verdict.threshold)


def test_auto_clip_brings_a_norm_to_its_threshold():
    rule = AutoClip(50)
    feed(rule, [1.0, 2.0, 3.0])
    spike = parameter([300.0, 400.0])
    assert follow(rule, spike).threshold == 2.5  # the median of 1, 2, 3, 500
    torch.testing.assert_close(spike.grad, torch.tensor([1.5, 2.0]))


def reference_zclip(norms, z, alpha, warmup):
    """The paper's algorithm 1 with adaptive scaling, in plain numbers: what each norm is clipped to."""
    warm, mean, variance, clipped_to = [], None, None, []
    for norm in norms:
        if mean is None:
            warm.append(norm)
            clipped_to.append(norm)
            if len(warm) == warmup:
                mean = sum(warm) / warmup
                variance = sum((value - mean) ** 2 for value in warm) / warmup
            continue
        deviation = math.sqrt(variance)
        score = (norm - mean) / deviation
        if score > z:
            norm = mean + z**2 / score * deviation
        clipped_to.append(norm)
        mean = alpha * mean + (1 - alpha) * norm
        variance = alpha * variance + (1 - alpha) * (norm - mean) ** 2
    return clipped_to, mean, variance


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(0.1, 100), min_size=3, max_size=40, unique=True),
    st.sampled_from([0.5, 1.0, 2.5]),
    st.sampled_from([0.5, 0.97]),
    st.integers(2, 5),
)
def test_zclip_follows_the_papers_formulas(norms, z, alpha, warmup):
    rule, gradients = ZClip(z, alpha, warmup=warmup), [parameter([norm], dtype=torch.float64) for norm in norms]
    for gradient in gradients:
        follow(rule, gradient)
    expected, mean, variance = reference_zclip(norms, z, alpha, warmup)
    assert [gradient.grad.item() for gradient in gradients] == pytest.approx(expected, rel=1e-9)
    if mean is not None:
        state = rule.state_dict()
        assert (state["mean"], state["variance"]) == pytest.approx((mean, variance), rel=1e-9, abs=1e-12)


def test_zclip_tells_the_threshold_before_it_is_crossed():
    verdicts = feed(ZClip(z=2.0, warmup=2), [1.0, 3.0, 2.0])
    assert [verdict.threshold for verdict in verdicts] == [INF, INF, 4.0]  # warming up, then 2 + 2 x 1


def test_zclip_without_any_deviation_clips_to_the_mean():
    *_, same, spike, again = feed(ZClip(warmup=3), [2.0] * 4 + [2000.0, 2.0])
    assert (same.clipped, same.threshold) == (False, 2.0)
    assert (spike.clipped, spike.threshold) == (True, 2.0)
    assert (again.clipped, again.threshold) == (False, 2.0)


def test_max_value_counts_the_gradients_in_which_something_was_over():
    small, large, edge = parameter([0.5, -0.5]), parameter([3.0, -0.2, -4.0]), parameter([1.0])
    verdict = follow(MaxValue(1.0), small, large, edge)
    assert verdict.clipped == pytest.approx(1 / 3)
    assert (small.grad.tolist(), edge.grad.tolist()) == ([0.5, -0.5], [1.0])
    torch.testing.assert_close(large.grad, torch.tensor([1.0, -0.2, -1.0]))


# --------------------------------------------------------------------------------------------- what no step should do


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("fault", [NAN, INF, -INF])
def test_what_is_not_finite_is_left_alone_and_not_remembered(name, fault):
    rule = RULES[name]()
    feed(rule, [1.0, 3.0, 2.0])
    remembered = state_of(rule)
    row, bad = parameter([[500.0, 600.0]]), parameter([500.0, fault])
    assert follow(rule, row, bad).clipped == 0
    assert row.grad.tolist() == [[500.0, 600.0]]
    assert bad.grad[0] == 500.0
    assert str(bad.grad[1].item()) == str(fault)
    assert state_of(rule) == remembered


@pytest.mark.parametrize("make", [lambda: AutoClip(10), ZClip])
def test_a_norm_of_zero_says_nothing_about_the_others(make):
    """Else a model whose first gradients are all zero would have every later one clipped to zero."""
    rule = make()
    feed(rule, [0.0] * 30)
    assert feed(rule, [1.0])[0].clipped == 0


@pytest.mark.parametrize("name", RULES)
def test_first_steps_that_are_not_finite_do_no_harm(name):
    rule = RULES[name]()
    verdicts = feed(rule, [NAN, INF, 0.01])
    assert [verdict.clipped for verdict in verdicts] == [0, 0, name == "agc"]  # agc: beside a weight of 0
    thresholds = {"max norm": 2.0, "max value": 1.0, "agc": None}
    assert verdicts[1].threshold == thresholds.get(name, INF)


class NoReading(TorchDispatchMode):
    """Fails when the value of a tensor is asked for, which on a GPU would be to wait for it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "a tensor was read"
        return function(*args, **(kwargs or {}))


STORY = [1.0, 3.0, NAN, 2.0, 50.0, INF, 0.0, 1.5, 2.5, 4.0]


def tell(rule, mode):
    """What the rule makes of the story, and the gradients that it leaves."""
    verdicts, left = [], []
    for norm in STORY:
        parameters = parameter([[0.6 * norm, 0.0], [0.0, 0.0]], weight=1.0), parameter([0.8 * norm], weight=1.0)
        with mode:
            verdicts.append(follow(rule, *parameters))
        left += [p.grad.nan_to_num(nan=-1.0) for p in parameters]
    numbers = [(float(v.clipped), None if v.threshold is None else float(v.threshold)) for v in verdicts]
    return numbers, left, state_of(rule)


@pytest.mark.parametrize("name", RULES)
def test_a_device_that_is_not_waited_for_does_the_same(name, monkeypatch):
    here = tell(RULES[name](), nullcontext())
    for module in (gradients, clipping_rules):  # as on a device other than the CPU
        monkeypatch.setattr(module, "number", torch.Tensor.double, raising=False)
    there = tell(RULES[name](), NoReading())
    assert [v[0] for v in there[0]] == [v[0] for v in here[0]]
    assert [v[1] for v in there[0] if v[1] is not None] == pytest.approx([v[1] for v in here[0] if v[1] is not None])
    for mine, theirs in zip(here[1], there[1], strict=True):
        torch.testing.assert_close(mine, theirs)
    assert there[2] == {key: pytest.approx(value) for key, value in here[2].items()}


@pytest.mark.parametrize("name", RULES)
def test_everything_stays_on_the_device(name):
    """The meta device has no values at all: whoever reads one fails."""
    rule = RULES[name]()
    for _ in range(3):
        weight = nn.Parameter(torch.ones(2, 3, device="meta"))
        bias = nn.Parameter(torch.ones(2, device="meta", dtype=torch.bfloat16))
        weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
        verdict = follow(rule, weight, bias)
        assert verdict.clipped.device.type == "meta"
        assert verdict.clipped.ndim == 0


# --------------------------------------------------------------------------------------------------- kinds of gradient


@pytest.mark.parametrize(("dtype", "value"), [(torch.float16, 3e4), (torch.bfloat16, 3e4)])
def test_norms_of_short_floats_neither_overflow_nor_lose(dtype, value):
    """In the type itself, 16 elements of 30000 have an infinite norm in fp16, and bf16 keeps 8 bits of any norm."""
    p, other = parameter([value] * 16, dtype=dtype), parameter([1.0, 2.0, 2.0])
    assert Gradients([p]).norm.item() == pytest.approx(4 * p.grad[0].item(), rel=1e-6)
    assert Gradients([p]).norm.dtype == torch.float32
    q = parameter([1.0] * 70000, dtype=dtype)
    q.grad[0] = 100.0
    assert Gradients([q]).norm.item() == pytest.approx(math.sqrt(69999 + 10000), rel=1e-6)
    assert Gradients([q, other]).norm.item() == pytest.approx(math.sqrt(69999 + 10000 + 9), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_units_of_short_floats_have_norms_that_do_not_overflow(dtype):
    row, vector = parameter([[3e4] * 16], weight=1.0, dtype=dtype), parameter([3e4] * 16, weight=1.0, dtype=dtype)
    assert follow(AGC(0.5), row, vector).clipped == 1
    for p in (row, vector):
        torch.testing.assert_close(p.grad, torch.full_like(p.grad, 0.5))  # of norm 2, on weights of norm 4


@pytest.mark.parametrize("name", RULES)
def test_a_model_of_many_types_is_clipped_as_one_of_a_single_type(name):
    def model(*dtypes):
        generator = torch.Generator().manual_seed(0)
        values = [torch.randn(3, 2, generator=generator).bfloat16() for _ in dtypes]  # exact in every type
        return [parameter(value, weight=0.5, dtype=dtype) for value, dtype in zip(values, dtypes, strict=True)]

    mixed = model(torch.bfloat16, torch.float32, torch.float64, torch.float16)
    plain = model(*[torch.float64] * 4)
    ours, theirs = RULES[name](), RULES[name]()
    feed(ours, [1.0, 1.5, 1.25]), feed(theirs, [1.0, 1.5, 1.25])
    follow(ours, *mixed), follow(theirs, *plain)
    for p, q in zip(mixed, plain, strict=True):
        assert p.grad.dtype == p.dtype
        torch.testing.assert_close(p.grad.double(), q.grad, rtol=1e-2 if p.dtype in gradients.HALVES else 1e-5, atol=0)
    assert norm_of(*mixed) < norm_of(*model(*[torch.float64] * 4))


def embedding(sparse):
    torch.manual_seed(0)
    layer = nn.Embedding(5, 2, sparse=sparse)
    layer(torch.tensor([1, 3, 3, 3])).pow(2).mul(10).sum().backward()  # row 3 is in the gradient three times
    return layer


@pytest.mark.parametrize("name", ["max norm", "max value", "auto clip", "zclip"])
def test_sparse_gradients_are_clipped_as_dense_ones(name):
    sparse, dense = embedding(True), embedding(False)
    ours, theirs = RULES[name](), RULES[name]()
    feed(ours, [1.0, 1.5, 1.25]), feed(theirs, [1.0, 1.5, 1.25])
    before = dense.weight.grad.norm()
    mine, other = follow(ours, sparse.weight), follow(theirs, dense.weight)
    assert mine.clipped == other.clipped == 1
    assert sparse.weight.grad.is_sparse
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)
    assert dense.weight.grad.norm() < before


def test_judging_leaves_a_sparse_gradient_as_it_is():
    layer = embedding(True)
    gradient = layer.weight.grad
    Gradients(layer.parameters())
    assert layer.weight.grad is gradient
    assert not gradient.is_coalesced()


def test_agc_says_what_to_do_about_a_sparse_gradient():
    layer = embedding(True)
    with pytest.raises(
        ValueError, match=r"sparse gradient of a parameter of shape \(5, 2\); give the parameter in skip"
    ):
        follow(AGC(), layer.weight)
    assert follow(AGC(skip=[layer.weight]), layer.weight).clipped == 0


def test_complex_gradients_are_clipped_by_magnitude_or_by_part():
    p = parameter([3 + 4j, 0j], dtype=torch.complex64)
    follow(MaxNorm(1.0), p)
    torch.testing.assert_close(p.grad, torch.tensor([0.6 + 0.8j, 0j]))
    p = parameter([3 + 4j, 0.5 - 9j], dtype=torch.complex64)
    assert follow(MaxValue(1.0), p).clipped == 1
    torch.testing.assert_close(p.grad, torch.tensor([1 + 1j, 0.5 - 1j]))
    p = parameter([[3 + 4j], [0.1j]], weight=1.0, dtype=torch.complex64)
    follow(AGC(0.5), p)
    torch.testing.assert_close(p.grad, torch.tensor([[0.3 + 0.4j], [0.1j]]))


@pytest.mark.parametrize("name", RULES)
def test_parameters_without_elements_or_gradients_are_no_part_of_it(name):
    empty, without, p = parameter(torch.empty(0, 3)), nn.Parameter(torch.ones(2)), parameter([[3.0, 4.0]], weight=1.0)
    gradients = Gradients([empty, without, p])
    assert gradients.parameters == [p]
    assert gradients.norm.item() == 5.0
    alone = parameter([[3.0, 4.0]], weight=1.0)
    assert follow(RULES[name](), empty, without, p)[:2] == follow(RULES[name](), alone)[:2]
    assert torch.equal(p.grad, alone.grad)


# -------------------------------------------------------------------------------------------------------- state, words


@pytest.mark.parametrize("name", ["auto clip", "zclip"])
@pytest.mark.parametrize("split", [0, 1, 4, 8])
def test_a_state_goes_on_exactly_where_it_was_taken(name, split):
    straight = feed(RULES[name](), STORY)
    first, second = RULES[name](), RULES[name]()
    verdicts = feed(first, STORY[:split])
    state = first.state_dict()
    feed(first, [7.0, 8.0, 9.0])  # the first goes on, which must not change the state that it gave
    second.load_state_dict(through_a_file(state))
    verdicts += feed(second, STORY[split:])
    assert [verdict[:2] for verdict in verdicts] == [verdict[:2] for verdict in straight]


def test_a_shorter_window_takes_the_newest_norms_of_a_state():
    long, short = AutoClip(0, window=5), AutoClip(0, window=2)
    feed(long, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert long.state_dict()["norms"].tolist() == [2.0, 3.0, 4.0, 5.0, 6.0]
    short.load_state_dict(long.state_dict())
    assert short.state_dict()["norms"].tolist() == [5.0, 6.0]
    assert short.state_dict()["norms"].untyped_storage().nbytes() == 16  # a file holds these two and no more
    assert feed(short, [9.0])[0].threshold == 6.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxNorm(0.0), "max_norm is 0.0; it must be a number above 0"),
        (lambda: MaxValue(NAN), "max_value is nan"),
        (lambda: AGC(-1.0), "clipping is -1.0"),
        (lambda: AGC(eps=0.0), "eps is 0.0"),
        (lambda: AGC(skip=["head.weight"]), r"skip is \['head.weight'\]; it must be several parameters"),
        (lambda: AGC(skip=nn.Linear(1, 1)), r"skip is Linear\(.*; it must be several parameters"),
        (lambda: AGC(skip=nn.Linear(1, 1).weight), "skip is Parameter .*it must be several parameters"),
        (lambda: AutoClip(101), "percentile is 101; it must be a number from 0 to 100"),
        (lambda: AutoClip(NAN), "percentile is nan"),
        (lambda: AutoClip(window=0), "window is 0"),
        (lambda: ZClip(0.0), "z is 0.0"),
        (lambda: ZClip(alpha=1.0), "alpha is 1.0; it must be a number between 0 and 1"),
        (lambda: ZClip(warmup=1), "warmup is 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        make()


def test_a_verdict_needs_no_threshold():
    assert Verdict(0.5) == (0.5, None, None)
