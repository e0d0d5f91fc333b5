"""``soak`` tests are left out, whatever else ``-m`` says, until it names them."""

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], ["ordinary", "on_gpu"]),
        (["-m", "gpu"], ["on_gpu"]),
        (["-m", "not gpu"], ["ordinary"]),  # not the hour's work with it
        (["-m", "soak"], ["hours", "hours_on_gpu"]),
        (["-m", "soak and not gpu"], ["hours"]),
        (["-k", "hours"], []),
    ],
)
def test_soak_runs_only_when_it_is_named(pytester, arguments, runs):
    shutil.copy(Path(__file__).parent / "conftest.py", pytester.path / "conftest.py")
    pytester.makeini("[pytest]\nmarkers =\n    gpu: a\n    soak: b\n")
    pytester.makepyfile(
        """
        import pytest

        def test_ordinary(): pass
        @pytest.mark.gpu
        def test_on_gpu(): pass
        @pytest.mark.soak
        def test_hours(): pass
        @pytest.mark.soak
        @pytest.mark.gpu
        def test_hours_on_gpu(): pass
        """
    )
    result = pytester.inline_run("-p", "no:cacheprovider", *arguments)
    assert [report.nodeid.split("::test_")[1] for report in result.getreports() if report.when == "call"] == runs
