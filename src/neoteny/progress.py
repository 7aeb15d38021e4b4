"""The progress bar of a terminal, silent where nobody watches; and a look at others' runs."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


class Progress:
    """What is done over all runs, its rate and the time left, on standard error.

    That is tasks; or where all runs are agents', steps in their environments.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._all: Any = None
        self._done: dict[tuple, int] = {}
        self._values: dict[tuple, float] = {}
        self._in_steps = False
        self._others: dict[str, Any] = {}

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, runs: Sequence[Any]) -> None:
        """Show a bar for these runs, if standard error is a terminal."""
        bar = self._shown()
        if bar is not None:
            self._in_steps = all(_agent(config) is not None for config in runs)
            total = sum(self._of(config) * config.tasks for config in runs)
            unit = "steps" if self._in_steps else "tasks"
            self._all = bar.add_task(f"{len(runs)} runs", total=total, unit=unit)

    def task_done(self, config: Any, done: int, value: float | None) -> None:
        """A run has come to `done` tasks, and the last one to `value` in the setting's metric."""
        if self._bar is None:
            return
        run = (config.stream, config.method, config.seed)
        self._done[run] = done * self._of(config)
        if value is not None:
            self._values[run] = value
        text = f"{config.stream}/{config.method}/seed-{config.seed}"
        if run in self._values:
            kind = config.setting.metric.rpartition("_")[2]
            text += f" · {kind} {self._values[run]:.4g}"
        self._bar.update(self._all, completed=sum(self._done.values()), description=text)

    def _of(self, config: Any) -> int:
        """How much one task of this run counts."""
        agent = _agent(config)
        if agent is None or not self._in_steps:
            return 1
        return agent.seats * agent.rollout * agent.iterations

    def downloading(self, name: str, done: int, total: int) -> None:
        """A file of a data set has come to `done` of `total` bytes."""
        self._advance(f"downloading {name}", done, total, "bytes")

    def retrained(self, done: int, total: int) -> None:
        """A stored run that is trained anew has come to `done` of `total` tasks."""
        self._advance(f"training anew up to task {total}", done, total, "tasks")

    def exported(self, done: int, total: int) -> None:
        """So many of the runs have been dealt with."""
        self._advance("exporting", done, total, "runs")

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


def _agent(config: Any) -> Any:
    """The settings of a run's agent; a piece of a claim has no settings at all."""
    return config.setting.agent if hasattr(config, "setting") else None


def together(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs of each method on each stream as one row: how many are in which state, how far.

    **Arguments:**

    - `rows`: as of `neoteny.store.status`. Stopped are those that diverged, failed, were
      pruned or interrupted; `seconds` are added up.
    """
    found: dict[tuple, dict[str, Any]] = {}
    for row in rows:
        whole = found.setdefault(
            (row["study"], row["stream"], row["method"]),
            {name: row[name] for name in ("study", "stream", "method")}
            | dict.fromkeys(("runs", "finished", "running", "stopped"), 0)
            | {"tasks_done": 0, "tasks_asked": 0, "seconds": 0.0},
        )
        whole["runs"] += 1
        whole[row["status"] if row["status"] in ("finished", "running") else "stopped"] += 1
        for name in ("tasks_done", "tasks_asked", "seconds"):
            whole[name] += row[name] or 0
    several = len({study for study, _, _ in found}) > 1
    shown = lambda row: {name: value for name, value in row.items() if several or name != "study"}
    return [shown(row) for row in found.values()]


def telling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows without columns that tell a person nothing: those that are empty in all, the
    study where there is one, and the folder, which follows from the rest."""
    several = len({row["study"] for row in rows}) > 1
    idle = {"folder"} | (set() if several else {"study"})
    kept = [
        name
        for name in rows[0]
        if name not in idle and any(row[name] not in (None, "", []) for row in rows)
    ]
    return [{name: row[name] for name in kept} for row in rows]


def follow(folder: Path, *, seconds: float = 2.0) -> Iterator[list[dict[str, Any]]]:
    """What `together` says of the runs below `folder`, again and again until none is running."""
    from neoteny import store

    while True:
        rows = together(store.status(folder))
        yield rows
        if not any(row["running"] for row in rows):
            return
        time.sleep(seconds)


def _bar():
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Done(progress.ProgressColumn):
        def render(self, task):
            done, total = _short(task.completed), _short(task.total or 0)
            return Text(f"{done}/{total}", style="green", no_wrap=True)

    class Rate(progress.ProgressColumn):
        def render(self, task):
            speed = task.finished_speed or task.speed or 0
            return Text(f"{_short(speed)} {task.fields['unit']}/s", style="dim", no_wrap=True)

    return progress.Progress(
        progress.TextColumn("{task.description:<44}"),
        progress.BarColumn(bar_width=12),
        Done(),
        Rate(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left", style="dim"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _short(number: int | float) -> str:
    """In at most five signs, as 12.5, 840 or 2.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.3g}{unit}" if scaled < 1000 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}" if number >= 100 or number == int(number) else f"{number:.1f}"
