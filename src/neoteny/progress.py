"""The progress bar of a terminal; silent where nobody watches."""

import sys
from collections.abc import Sequence
from typing import Any

from neoteny.config import RunConfig


class Progress:
    """Tasks done over all runs, their rate and the time left, on standard error."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._all: Any = None
        self._done: dict[tuple, int] = {}
        self._others: dict[str, Any] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, runs: Sequence[RunConfig]) -> None:
        """Show a bar for these runs, if standard error is a terminal."""
        bar = self._shown()
        if bar is not None:
            total = sum(config.tasks for config in runs)
            self._all = bar.add_task(f"{len(runs)} runs", total=total, unit="tasks")

    def task_done(self, config: RunConfig, done: int) -> None:
        """A run has come to `done` tasks."""
        if self._bar is None:
            return
        self._done[config.stream, config.method, config.seed] = done
        text = f"{config.stream} · {config.method} · seed {config.seed}"
        self._bar.update(self._all, completed=sum(self._done.values()), description=text)

    def downloading(self, name: str, done: int, total: int) -> None:
        """A file of a data set has come to `done` of `total` bytes."""
        self._advance(f"downloading {name}", done, total, "bytes")

    def retrained(self, done: int, total: int) -> None:
        """A stored run that is trained anew has come to `done` of `total` tasks."""
        self._advance(f"training anew up to task {total}", done, total, "tasks")

    def _advance(self, name: str, done: int, total: int, unit: str) -> None:
        bar = self._shown()
        if bar is None:
            return
        if name not in self._others:
            self._others[name] = bar.add_task(name, total=total, unit=unit)
        bar.update(self._others[name], completed=done)

    def _shown(self):
        if self._bar is None and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self._bar


def _bar():
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Rate(progress.ProgressColumn):
        def render(self, task):
            speed = task.finished_speed or task.speed or 0
            return Text(f"{speed:,.1f} {task.fields['unit']}/s", style="dim")

    return progress.Progress(
        progress.TextColumn("{task.description:<44}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        Rate(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left", style="dim"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
