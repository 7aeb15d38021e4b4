"""What the server knows of a folder: looked at when somebody asks, never twice at once."""

import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from neoteny import store
from neoteny.live import planned, summary
from neoteny.live.pace import Pace
from neoteny.report.data import ordered

EVERY, TIMES = 1.5, 10
"""Seconds from one look to the next, at least; or so many times what a look costs, if more."""

LULL = 10.0
"""Seconds without a running run after which nothing is said to be running: workers pause so long
at most between two runs."""


class Known(NamedTuple):
    """One look: the runs by method and stream, and what the page says of all of them."""

    groups: dict[tuple[str, str, str], summary.Group]
    rates: dict[tuple[str, str, str], float]
    told: dict[str, Any]


class Board:
    """What is to be shown of `folder`; any thread may ask."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._follower, self._pace = store.Follower(folder), Pace()
        self._lock = threading.Lock()
        self._due = self._running_at = -1e9
        self._plans: dict[Path, tuple[Any, dict]] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._known: Known | None = None

    def answer(self, open_sections: Collection[int] = ()) -> dict[str, Any]:
        """What the page shows now; methods and curves of those streams whose numbers are given."""
        known = self._looked()
        methods: dict[tuple[str, str], list[str]] = {}
        for study, stream, method in known.groups:
            methods.setdefault((study, stream), []).append(method)
        sections = []
        for key in sorted(methods, key=lambda key: [store.natural(part) for part in key]):
            number, names = self._numbers[key], ordered(methods[key])
            head = {"id": number, "study": key[0], "stream": key[1]}
            head |= summary.total(known.groups[*key, name] for name in names)
            if number in open_sections:
                head |= summary.section(names, known.groups, known.rates, key)
            sections.append(head)
        return known.told | {"sections": sections}

    def _looked(self) -> Known:
        """The last look, or a new one if that is due and nobody else is at it."""
        if self._lock.acquire(blocking=self._known is None):
            try:
                begun = time.monotonic()
                if self._known is None or begun >= self._due:
                    self._known = self._look()
                    took = 0.0 if self._known.told["unread"] else time.monotonic() - begun
                    self._due = begun + max(EVERY, TIMES * took)
            finally:
                self._lock.release()
        assert self._known is not None
        return self._known

    def _look(self) -> Known:
        view = self._follower.look()
        groups = summary.groups(view, self._planned(view))
        for study, stream, _ in groups:
            self._numbers.setdefault((study, stream), len(self._numbers))
        work = {key: group.work for key, group in groups.items()}
        if not view.unread_records:  # reading is no progress
            self._pace.note(work)
        rates, total = self._pace.tasks_per_second(), summary.total(groups.values())
        going = self._going(total)
        told = {
            "folder": str(self.folder),
            "state": going,
            "total": total,
            "rate": sum(rates.values()) if rates else None,
            "left": self._pace.seconds_left(work) if going == "running" else None,
            "unread": view.unread_records + view.unread_tables,
            "reasons": summary.reasons(view),
            "colours": summary.colours(method for *_, method in groups),
        }
        return Known(groups, rates, told)

    def _planned(self, view: store.View) -> dict:
        found = {}
        for folder in planned.folders(view, self._follower.folder):
            stamp = planned.stamp(folder)
            if folder not in self._plans or self._plans[folder][0] != stamp:
                self._plans[folder] = stamp, planned.planned(folder) if stamp else {}
            found |= self._plans[folder][1]
        return found

    def _going(self, total: dict[str, Any]) -> str:
        now = time.monotonic()
        if total["running"]:
            self._running_at = now
        if total["runs"] == total["waiting"]:
            return "empty" if self.folder.is_dir() else "absent"
        if total["running"] or (total["waiting"] and now < self._running_at + LULL):
            return "running"
        return "idle" if total["waiting"] or total["interrupted"] else "done"
