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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from neoteny import store
from neoteny.config import RunConfig, Study
from neoteny.errors import UserError

if TYPE_CHECKING:
    from neoteny.estimate import Estimate


class Outcome(NamedTuple):
    """How a run ended: `finished`, `diverged`, `pruned`, or `failed` with the reason."""

    config: RunConfig
    status: str
    reason: str | None = None


OnTask = Callable[[RunConfig, int, float | None], str | None]
"""`(run, done, value)`: it has come to `done` tasks, and the last one to `value` in the setting's
metric; `None` where that is not known. What it returns, if anything, is why to prune the run."""


@runtime_checkable
class Source(Protocol):
    """Where runs come from, one at a time: from a list, or chosen by how others went."""

    def take(self, compiled: set, held: set) -> RunConfig | None:
        """The next run, `None` if there is none now.

        **Arguments:**

        - `compiled`, `held`: programs that the process which asks has compiled, and that any has.
        """
        ...

    def ended(self, outcome: Outcome) -> None:
        """A run that was taken has ended; there may be something to take again."""
        ...


MOST_RUNS = 100_000
"""Of a study: more could neither be listed nor found again in a moment."""


def expand(study: Study) -> list[RunConfig]:
    """The runs of a study: every seed of every method on every stream, methods side by side.

    **Raises:** `UserError` if there are more than `MOST_RUNS`, or a seed is too large.
    """
    refuse_many(len(study.streams) * len({*study.methods}) * study.seeds)
    if study.first_seed + study.seeds > 2**32:
        raise UserError(
            f"`first_seed` is {study.first_seed} and `seeds` {study.seeds}, but seeds are below "
            "4294967296. Pass a smaller `--set first_seed=0`."
        )
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


def refuse_many(count: int) -> None:
    """Say so if a study, or a grid over it, asks for more than `MOST_RUNS` runs."""
    if count > MOST_RUNS:
        raise UserError(
            f"That would be {count:,} runs, and a study has at most {MOST_RUNS:,}. Pass fewer "
            "`--seeds`, `--methods` or values of `--grid`."
        )


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
    - `on_task`: told of every finished task, in this process; may say why a run is to be pruned.
    - `together`: all seeds of a method on a stream in lockstep here, whatever `jobs`; see
      `loop.run_together`.
    """
    if together:
        return _by_seeds(runs, out, data, on_task)
    ended = _ended(runs, out, on_task)
    rest = [config for place, config in enumerate(runs) if place not in ended]
    listed = Listed(rest)
    work_through(
        listed, out, jobs=min(jobs, len(rest)), data=data, plugins=plugins, on_task=on_task
    )
    later = iter(listed.in_order())
    return [ended.get(place) or next(later) for place in range(len(runs))]


def _ended(runs: Sequence[RunConfig], out: Path, on_task: OnTask) -> dict[int, Outcome]:
    """Those that an earlier call has carried to their end, by place: no process need be told."""
    outcomes = {}
    for place, config in enumerate(runs):
        with suppress(UserError):  # it is another's, as its own turn will tell
            status = store.ended(folder_of(out, config), config.model_dump(mode="json"))
            if status is not None:
                outcomes[place] = Outcome(config, status)
                on_task(config, config.tasks, None)
    return outcomes


def work_through(
    source: Source,
    out: Path,
    *,
    jobs: int = 1,
    data: Path | None = None,
    plugins: Sequence[Path] = (),
    on_task: OnTask = lambda config, done, value: None,
) -> None:
    """Carry out what `source` gives until it gives nothing more; otherwise as `run_all`."""
    if jobs > 1:
        Pool(source, out, data, plugins, on_task).work(jobs)
        return
    while (config := source.take(set(), set())) is not None:
        source.ended(_reported(config, out, data, on_task))


class Listed:
    """Runs from a list, and how they ended."""

    def __init__(self, runs: Sequence[RunConfig]):
        self.pending = list(runs)
        self.order = {id(config): place for place, config in enumerate(runs)}
        self.outcomes: list[Outcome] = []

    def take(self, compiled: set, held: set) -> RunConfig | None:
        """A run whose code this process holds, else one that nobody does, else any."""
        for wanted in (compiled.__contains__, lambda program: program not in held):
            for place, config in enumerate(self.pending):
                if wanted(_program(config)):
                    return self.pending.pop(place)
        return self.pending.pop(0) if self.pending else None

    def ended(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def in_order(self) -> list[Outcome]:
        """How the runs ended, as they stood in the list."""
        return sorted(self.outcomes, key=lambda outcome: self.order[id(outcome.config)])


def _reported(config: RunConfig, out: Path, data: Path | None, on_task: OnTask) -> Outcome:
    outcome = run_here(config, out, data, partial(on_task, config))
    on_task(config, config.tasks, None)
    return outcome


def run_here(
    config: RunConfig,
    out: Path,
    data: Path | None,
    on_task: Callable[[int, float | None], str | None],
) -> Outcome:
    """Carry a run to its end in this process; an error is how it ended."""
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


class Pool:
    """Hands runs to worker processes as they fall idle."""

    def __init__(self, source, out, data, plugins, on_task):
        self.source = source
        self.out, self.data, self.plugins, self.on_task = out, data, plugins, on_task
        self.workers: dict[Any, Member] = {}  # by the pipe to each
        self.busy: dict[Any, RunConfig] = {}

    def work(self, jobs: int) -> None:
        try:
            self._open(jobs)
            while self._going():
                for line in self._ready():
                    self._hear(line)
        finally:
            self._close()

    def _open(self, jobs: int) -> None:
        for cores in shares(jobs):
            self._start(cores)

    def _start(self, cores: set[int] | None) -> None:
        """A process for those cores, if there is anything to do."""
        if (job := self._take(set())) is None:
            return
        ours, theirs = get_context("spawn").Pipe()
        arguments = (theirs, cores, self.out, self.data, self.plugins)
        process = get_context("spawn").Process(target=_worker, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self.workers[ours] = Member(process, cores, set())
        self._hand(ours, job)

    def _going(self) -> bool:
        return bool(self.busy)

    def _ready(self) -> list[Any]:
        return connection.wait(list(self.busy))

    def _take(self, compiled: set) -> RunConfig | None:
        held = set().union(*(worker.compiled for worker in self.workers.values()))
        return self.source.take(compiled, held)

    def _hand(self, line: Any, job: RunConfig | None) -> None:
        if job is None:
            return
        self.busy[line] = job
        self.workers[line].compiled.add(_program(job))
        self._send(line, job)

    def _send(self, line: Any, job: RunConfig) -> None:
        with suppress(OSError):  # of a process that has died: `_hear` will find out
            line.send(job.model_dump_json())

    def _hear(self, line: Any) -> None:
        cores, alive = self.workers[line].cores, True
        try:
            kind, content = line.recv()
        except (EOFError, OSError):
            kind, content = "failed", "its process ended without a word (killed, or out of memory)"
            alive = False
        if kind == "task":
            answer = self.on_task(self.busy[line], *content)
            with suppress(OSError):
                line.send(answer)
            return
        config = self.busy.pop(line)
        if not alive:
            self.workers.pop(line).process.join()
            line.close()
        self._end(config, kind, content)
        for idle in [line for line in self.workers if line not in self.busy]:
            self._hand(idle, self._take(self.workers[idle].compiled))
        if not alive:
            self._start(cores)

    def _end(self, config: RunConfig, status: str, reason: str | None) -> None:
        self.on_task(config, config.tasks, None)
        self.source.ended(Outcome(config, status, reason))

    def _close(self) -> None:
        for line, worker in self.workers.items():
            line.close()
            worker.process.terminate()
        for worker in self.workers.values():
            worker.process.join()


class Member(NamedTuple):
    """A worker of a pool: its process, its cores, and the programs that it has compiled."""

    process: Any
    cores: set[int] | None
    compiled: set


def _program(config: RunConfig) -> tuple[str, str]:
    return config.stream, config.method


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shares(jobs: int) -> list[set[int] | None]:
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
    settle(cores, plugins)
    while True:
        try:
            config = RunConfig.model_validate_json(line.recv())
        except EOFError:
            return
        suit(config)
        outcome = run_here(config, out, data, partial(_heard, line))
        _tell(line, outcome.status, outcome.reason)


def suit(config: RunConfig) -> None:
    """Set what makes this process, which is the runs' own, fast at what it is asked for."""
    if config.setting.stream.environment is not None:
        from neoteny import rl

        if rl.on_host(config.setting.stream.environment):
            rl.compute_at_once()


def settle(cores: set[int] | None, plugins: Sequence[Path]) -> None:
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
        1, get_context("spawn"), initializer=settle, initargs=(shares(jobs)[0], plugins)
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


def _heard(line, *told: Any) -> str | None:
    """Tell of a task, and hear whether to go on."""
    _tell(line, "task", told)
    try:
        return line.recv()
    except (EOFError, OSError):
        os._exit(1)


def _die_with_parent() -> None:
    """Without its parent a worker would go on holding its run's lock."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
