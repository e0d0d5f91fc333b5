"""Runs as a page in the browser: served while they go on, or as one file. Needs nothing but the standard library."""

from ignition.monitor.page.document import one_file
from ignition.monitor.page.feed import Feed
from ignition.monitor.page.server import LOOPBACK, NoPage, PageServer

__all__ = ["LOOPBACK", "Feed", "NoPage", "PageServer", "one_file"]
