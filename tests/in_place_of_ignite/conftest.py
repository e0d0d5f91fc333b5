"""Each story is told twice: with our class, and with ignite's own in its place, where it must fail in the known way."""

import pytest


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "in_place_of(pitfall, ours, ignites, *, there, raises=AssertionError): run the test with make=ours, which must "
        "pass, and with make=ignites, which must fail with an error that says there (a regular expression).",
    )


def pytest_generate_tests(metafunc):
    for mark in metafunc.definition.iter_markers("in_place_of"):
        parameters = pair(*mark.args, **mark.kwargs)
        metafunc.parametrize("make", parameters)


def pair(pitfall, ours, ignites, *, there, raises=AssertionError):
    """Both sides of a story; strict, so that a story that passes with ignite's class is an error as well."""
    known = pytest.mark.xfail(raises=pytest.RaisesExc(raises, match=there), reason=f"{pitfall} in ignite", strict=True)
    return [pytest.param(ours, id=f"{pitfall}-ours"), pytest.param(ignites, id=f"{pitfall}-ignite", marks=known)]
