"""How fast a run goes on, by the times of its rows."""

from __future__ import annotations

from collections import deque

import numpy as np

Moment = tuple[float, float]  # time, iteration


class Pace:
    """Remembers some moments of a run: the first row of each second, of the last ``MOST``.

    Rows are written many at once, so that rows beside each other say nothing about speed; moments do.

    >>> pace = Pace()
    >>> pace.add(np.array([100.0, 102.0, 104.0, 114.0, 116.0]), np.array([1.0, 11.0, 21.0, 31.0, 41.0]))
    >>> pace.steps_per_second, pace.seconds_per_iteration
    (5.0, 0.4)
    """

    MOST = 600
    PAUSE = 20.0  # times the usual: a run that stood still, and not one that evaluates

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=self.MOST)
        self.oldest = self.newest = 0.0  # times of the first and of the newest row

    def add(self, times: np.ndarray, iterations: np.ndarray) -> None:
        """Take in the times and iterations of rows, in their order."""
        known = np.isfinite(times)
        if not known.any():
            return
        times, iterations = times[known], iterations[known]
        self.oldest = self.oldest or float(times[0])
        self.newest = float(times[-1])
        while self._moments and iterations.min() <= self._moments[-1][1]:  # taken up from before
            self._moments.pop()
        _, firsts = np.unique(np.floor(times), return_index=True)
        for place in np.sort(firsts)[-self.MOST :]:
            moment = (float(times[place]), float(iterations[place]))
            before = self._moments[-1] if self._moments else (-np.inf, -np.inf)
            if moment[0] >= before[0] + 1.0 and moment[1] > before[1]:
                self._moments.append(moment)
            elif moment[0] < before[0]:  # the clock was put back: nothing before says how fast it goes
                self._moments.clear()
                self._moments.append(moment)

    def _steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and iterations between moments, pauses left out."""
        if len(self._moments) < 2:
            return np.empty(0), np.empty(0)
        seconds, iterations = np.diff(np.array(self._moments), axis=0).T
        each = seconds / iterations
        usual = each <= self.PAUSE * np.median(each)
        going = usual | (seconds < 600)
        return seconds[going], iterations[going]

    @property
    def seconds_per_iteration(self) -> float | None:
        """With evaluations and saves; None where it is not known."""
        seconds, iterations = self._steps()
        return float(seconds.sum() / iterations.sum()) if len(seconds) else None

    @property
    def steps_per_second(self) -> float | None:
        """As it is usually, without what happens at an epoch's end; None where it is not known."""
        seconds, iterations = self._steps()
        return float(1 / np.median(seconds / iterations)) if len(seconds) else None

    @property
    def longest_gap(self) -> float:
        """Seconds without a row that have been before and were no trouble."""
        seconds, _ = self._steps()
        return float(seconds.max()) if len(seconds) else 0.0
