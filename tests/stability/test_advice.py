import pytest

from ignition.stability.advice import RunSettings, change_rate, clip, given, warm_up, written


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4 / 2, "5e-5"), (2e-4 * 0.625, "1.25e-4"), (1e-6, "1e-6"), (0.001, "0.001"), (1 / 3, "0.333"), (2.0, "2.0"),
     (12.0, "12.0"), (1234.5, "1234"), (0.0, "0.0"), (-1e-5, "-1e-5"), (3.2e7, "3.2e7")],
)  # fmt: skip
def test_numbers_are_written_as_people_write_them_and_read_back(number, text):
    assert written(number) == text
    assert float(text) == pytest.approx(number, rel=5e-3)


def test_what_is_not_known_is_said_in_words():
    assert change_rate(RunSettings(), 0.2, "it is too high").why == "learning rate times 0.2: it is too high"
    assert change_rate(RunSettings(), 0.2, "").override == ""
    assert warm_up(RunSettings()) is None


@pytest.mark.parametrize(("epochs", "advised"), [(0.0, "1.0"), (5.0, "10.0")])  # as from 5 to 10 epochs for flow
def test_a_warm_up_is_made_twice_as_long(epochs, advised):
    assert warm_up(RunSettings(warmup_epochs=epochs)).override == f"schedule.warmup_epochs={advised}"


@pytest.mark.parametrize(
    ("max_norm", "typical", "limit"),
    [(None, None, "1.0"), (0.0, None, "1.0"), (5.0, None, "1.0"), (1.0, None, None), (0.1, None, None),
     (None, 0.5, "1.0"), (None, 8.0, "16.0"), (16.0, 8.0, None), (None, 0.01, "0.02")],
)  # fmt: skip
def test_clipping_is_advised_where_it_would_change_something(max_norm, typical, limit):
    advice = clip(RunSettings(max_norm=max_norm), typical)
    assert (advice and advice.override) == (limit and f"clip.kind=norm clip.max_norm={limit}")


def test_only_what_there_is_is_given():
    assert given(None, clip(RunSettings()), None) == (clip(RunSettings()),)
