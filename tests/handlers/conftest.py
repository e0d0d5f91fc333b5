import pytest


class Clock:
    """In place of the module ``time``: a monotonic clock that runs only when told, and a wall clock that is set."""

    def __init__(self):
        self.now, self.wall = 5000.0, 1.7e9

    def monotonic(self):
        return self.now

    def time(self):
        return self.wall

    def sleep(self, seconds):
        self.now += seconds
        self.wall += seconds


@pytest.fixture
def told_time():
    return Clock()
