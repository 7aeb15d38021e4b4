"""Many runs at once: a pool of processes, each on its own cores, fed one run at a time."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neoteny.config import RunConfig, Study
from neoteny.errors import UserError

if TYPE_CHECKING:
    from neoteny.estimate import Estimate


class Outcome(NamedTuple):
    """How a run ended: `finished`, `diverged`, or `failed` with the reason."""

    config: RunConfig
    status: str
    reason: str | None = None


OnTask = Callable[[RunConfig, int, float | None], None]
"""`(run, done, value)`: it has come to `done` tasks, and the last one to `value` in the setting's
metric; `None` where that is not known."""


def expand(study: Study) -> list[RunConfig]:
    """The runs of a study: every seed of every method on every stream, methods side by side."""
    return [
        RunConfig(
            study=study.name,
            stream=stream,
            method=method,
            seed=seed,
            tasks=setting.tasks,
            hyperparameters=setting.hyperparameters.get(method, {}),
            # what other methods are set to is no part of this run
            setting=setting.model_copy(
                update={
                    "hyperparameters": {},
                    "training": setting.trained(method),
                    "training_of": {},
                }
            ),
        )
        for stream, setting in study.streams.items()
        for method in dict.fromkeys(study.methods)
        for seed in range(study.first_seed, study.first_seed + study.seeds)
    ]


def folder_of(out: Path, config: RunConfig) -> Path:
    """Where a run lives below `out`."""
    return out / config.stream / config.method / f"seed-{config.seed}"


def run_all(
    runs: Sequence[RunConfig],
    out: Path,
    *,
    jobs: int = 1,
    data: Path | None = None,
    plugins: Sequence[Path] = (),
    on_task: OnTask = lambda config, done, value: None,
    together: bool = False,
) -> list[Outcome]:
    """Carry every run to its end, and say how each ended; one failure stops no other.

    With `jobs=1` they run here, one after the other, on all cores. Otherwise each of `jobs`
    processes is bound to its share of the cores before JAX sizes its thread pool from them,
    which on small networks is worth more than threads within a run. A process prefers runs
    whose compiled code it already holds.

    **Arguments:**

    - `plugins`: Python files that each process loads first, with methods, streams or probes
      of the user's own.
    - `on_task`: told of every finished task, in this process.
    - `together`: all seeds of a method on a stream in lockstep here, whatever `jobs`; see
      `loop.run_together`.
    """
    if together:
        return _by_seeds(runs, out, data, on_task)
    jobs = min(jobs, len(runs))
    if jobs <= 1:
        return [_reported(config, out, data, on_task) for config in runs]
    return _Pool(runs, out, data, plugins, on_task).work(jobs)


def _reported(config: RunConfig, out: Path, data: Path | None, on_task: OnTask) -> Outcome:
    outcome = _run_here(config, out, data, partial(on_task, config))
    on_task(config, config.tasks, None)
    return outcome


def _run_here(
    config: RunConfig, out: Path, data: Path | None, on_task: Callable[[int, float | None], None]
) -> Outcome:
    from neoteny import loop

    try:
        return Outcome(config, loop.run(config, folder_of(out, config), data=data, on_task=on_task))
    except Exception as error:
        return _failed(config, error)


def _by_seeds(
    runs: Sequence[RunConfig], out: Path, data: Path | None, on_task: OnTask
) -> list[Outcome]:
    """How each run ended, of groups that differ in their seeds, one group after the other."""
    from neoteny import loop

    groups: dict[str, list[int]] = {}
    for place, config in enumerate(runs):
        groups.setdefault(config.model_dump_json(exclude={"seed"}), []).append(place)
    outcomes: dict[int, Outcome] = {}
    for places in groups.values():
        configs = [runs[place] for place in places]
        folders = [folder_of(out, config) for config in configs]
        ends = loop.run_together(configs, folders, data=data, on_task=on_task)
        for place, config, end in zip(places, configs, ends, strict=True):
            failed = isinstance(end, Exception)
            outcomes[place] = _failed(config, end) if failed else Outcome(config, end)
            on_task(config, config.tasks, None)
    return [outcomes[place] for place in range(len(runs))]


def _failed(config: RunConfig, error: Exception) -> Outcome:
    reason = str(error) if isinstance(error, UserError) else in_one_line(error)
    return Outcome(config, "failed", reason)


def in_one_line(error: Exception) -> str:
    """An error that nobody foresaw: its kind, its words and where it arose."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words} ({Path(place.filename).name}, line {place.lineno})"


class _Pool:
    """Hands runs to worker processes as they fall idle; holds no results but how runs ended."""

    def __init__(self, runs, out, data, plugins, on_task):
        self.pending = list(runs)
        self.order = {id(config): place for place, config in enumerate(runs)}
        self.out, self.data, self.plugins, self.on_task = out, data, plugins, on_task
        self.outcomes: list[Outcome] = []
        self.workers: dict[Any, _Worker] = {}  # by the pipe to each
        self.busy: dict[Any, RunConfig] = {}

    def work(self, jobs: int) -> list[Outcome]:
        try:
            for cores in _shares(jobs):
                self._start(cores)
            while self.busy:
                for line in connection.wait(list(self.busy)):
                    self._hear(line)
        finally:
            for line, worker in self.workers.items():
                line.close()
                worker.process.terminate()
            for worker in self.workers.values():
                worker.process.join()
        return sorted(self.outcomes, key=lambda outcome: self.order[id(outcome.config)])

    def _start(self, cores: set[int] | None) -> None:
        ours, theirs = get_context("spawn").Pipe()
        arguments = (theirs, cores, self.out, self.data, self.plugins)
        process = get_context("spawn").Process(target=_worker, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self.workers[ours] = _Worker(process, cores, set())
        self._feed(ours)

    def _feed(self, line: Any) -> None:
        if self.pending:
            self.busy[line] = job = self._next(self.workers[line].compiled)
            self.workers[line].compiled.add(_program(job))
            with suppress(OSError):  # of a process that has died: `_hear` will find out
                line.send(job.model_dump_json())

    def _next(self, compiled: set) -> RunConfig:
        """A run this worker holds the code for, else one that nobody does, else any."""
        held = set().union(*(worker.compiled for worker in self.workers.values()))
        for wanted in (compiled.__contains__, lambda program: program not in held):
            for place, config in enumerate(self.pending):
                if wanted(_program(config)):
                    return self.pending.pop(place)
        return self.pending.pop(0)

    def _hear(self, line: Any) -> None:
        config, alive = self.busy[line], True
        try:
            kind, content = line.recv()
        except (EOFError, OSError):
            kind, content = "failed", "its process ended without a word (killed, or out of memory)"
            alive = False
        if kind == "task":
            self.on_task(config, *content)
            return
        del self.busy[line]
        self.on_task(config, config.tasks, None)
        self.outcomes.append(Outcome(config, kind, content))
        if alive:
            self._feed(line)
        elif self.pending:
            self._start(self.workers[line].cores)


class _Worker(NamedTuple):
    process: Any
    cores: set[int] | None
    compiled: set


def _program(config: RunConfig) -> tuple[str, str]:
    return config.stream, config.method


def _shares(jobs: int) -> list[set[int] | None]:
    """The cores of each process, equally many; `None` where the system does not tell.

    XLA cuts large products by the number of cores, and rounding follows the cut: were shares
    unequal, a run's last bits would depend on which process took it up.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    cores = sorted(os.sched_getaffinity(0))
    size = max(1, len(cores) // jobs)
    return [set(cores[index % len(cores) :: jobs][:size]) for index in range(jobs)]


def _worker(line, cores, out, data, plugins) -> None:
    _settle(cores, plugins)
    while True:
        try:
            config = RunConfig.model_validate_json(line.recv())
        except EOFError:
            return
        _suit(config)
        outcome = _run_here(config, out, data, lambda *told: _tell(line, "task", told))
        _tell(line, outcome.status, outcome.reason)


def _suit(config: RunConfig) -> None:
    """Set what makes this process, which is the runs' own, fast at what it is asked for."""
    if config.setting.stream.environment is not None:
        from neoteny import rl

        if rl.on_host(config.setting.stream.environment):
            rl.compute_at_once()


def _settle(cores: set[int] | None, plugins: Sequence[Path]) -> None:
    """Make a fresh process one that works for this one: on its cores, with the user's members."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends us
    if cores is not None:
        os.sched_setaffinity(0, cores)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    from neoteny.plugins import load

    for plugin in plugins:
        load(plugin)


def estimate(
    runs: Sequence[RunConfig], *, jobs: int, data: Path | None, plugins: Sequence[Path] = ()
) -> "Estimate":
    """How long `runs` would take on so many processes, found in one like them.

    On an accelerator in this process, which holds it.
    """
    from neoteny import estimate as estimates
    from neoteny import loop

    if not loop.on_cpu():
        return estimates.estimate(runs, data=data)
    with ProcessPoolExecutor(
        1, get_context("spawn"), initializer=_settle, initargs=(_shares(jobs)[0], plugins)
    ) as pool:
        return pool.submit(_estimate, [run.model_dump_json() for run in runs], jobs, data).result()


def _estimate(runs: list[str], jobs: int, data: Path | None) -> "Estimate":
    from neoteny import estimate as estimates

    read = RunConfig.model_validate_json
    return estimates.estimate([read(run) for run in runs], jobs=jobs, data=data)


def _tell(line, kind: str, content: Any) -> None:
    try:
        line.send((kind, content))
    except OSError:  # nobody is left to hear it
        os._exit(1)


def _die_with_parent() -> None:
    """Without its parent a worker would go on holding its run's lock."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
