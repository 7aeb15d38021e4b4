"""How fast tasks are being finished, and when all would be at that pace."""

import time
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import NamedTuple

Key = tuple[str, str, str]
"""Study, stream and method."""

WINDOW, LEAST = 120.0, 10.0
"""Seconds that a pace is taken over, and without which there is none."""


class Work(NamedTuple):
    """Of the runs of one method on one stream: tasks done, training seconds of these, and tasks
    that runs which are running or have not begun still have to do."""

    done: int
    seconds: float
    left: int


class Pace:
    """What was seen in the last two minutes."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[Key, int]]] = deque()

    def note(self, work: Mapping[Key, Work], now: float | None = None) -> None:
        """Remember how much is done; `now` is in seconds of a clock that never goes back."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, {key: one.done for key, one in work.items()}))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW:
            self._seen.popleft()

    def tasks_per_second(self) -> dict[Key, float]:
        """Of each method on each stream; empty until there is enough to tell it from."""
        if len(self._seen) < 2 or (span := self._seen[-1][0] - self._seen[0][0]) < LEAST:
            return {}
        (_, first), (_, last) = self._seen[0], self._seen[-1]
        return {key: max(0, done - first.get(key, 0)) / span for key, done in last.items()}

    def seconds_left(self, work: Mapping[Key, Work]) -> float | None:
        """Until all is done at this pace, of tasks weighed by the seconds that they train.

        None without a pace. A method that has done nothing yet is taken for one as slow as the
        others on its stream, or anywhere.
        """
        weights = _weights(work)
        speed = sum(rate * weights.get(key, 0.0) for key, rate in self.tasks_per_second().items())
        left = sum(one.left * weights[key] for key, one in work.items())
        return left / speed if speed > 0 and left > 0 else None


def _weights(work: Mapping[Key, Work]) -> dict[Key, float]:
    """Seconds of a task of each method on each stream; 0 where nothing at all is done."""
    done: dict[tuple, int] = defaultdict(int)
    seconds: dict[tuple, float] = defaultdict(float)
    for key, one in work.items():
        for kind in _kinds(key):
            done[kind] += one.done
            seconds[kind] += one.seconds
    known = lambda key: (seconds[kind] / done[kind] for kind in _kinds(key) if done[kind])
    return {key: next(known(key), 0.0) for key in work}


def _kinds(key: Key) -> tuple[tuple, ...]:
    """Whom a method on a stream is like, the likest first."""
    return key, key[:2], ()
