"""What takes minutes runs when it is asked for by name: ``-m soak``; and Ctrl-C is heard."""

import re
import signal


def pytest_configure(config):
    """A shell starts what it puts in the background deaf to Ctrl-C, and all processes that tests start would be so."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked ``soak``, unless the marker expression names it.

    Not ``addopts = -m "not soak"``: a person's ``-m "not gpu"`` would take its place, and start an hour's work.
    """
    if re.search(r"\bsoak\b", config.getoption("markexpr")):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
