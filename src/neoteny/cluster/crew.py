"""The driver's side: actors that are fed runs, and replaced when they die."""

import itertools
import os
from collections.abc import Sequence
from contextlib import suppress
from textwrap import shorten
from typing import Any

from neoteny import cache, sweep
from neoteny.cluster.ground import Ground
from neoteny.cluster.worker import Worker, released
from neoteny.config import RunConfig
from neoteny.errors import UserError

RETRIES = 3
"""How often a run is taken up again, in a row, after a death that came before any new task."""

LEASE = 120.0
"""Seconds after which a file server has let go of what a lost machine had locked."""


class Crew(sweep.Pool):
    """Hands runs to actors of Ray; a run whose actor dies goes to another."""

    def __init__(self, runs: Sequence[RunConfig], ground: Ground, on_task: Any, ray: Any):
        self.listed = sweep.Listed(runs)
        super().__init__(self.listed, ground.out, ground.data, list(ground.plugins), on_task)
        self.ray, self.ground = ray, ground
        self.recruit = ray.remote(Worker).options(
            num_cpus=1, max_restarts=0, runtime_env={"env_vars": environment()}
        )
        self.numbers = itertools.count()  # by which workers are known here
        self.promised: dict[Any, int] = {}  # the worker whose news each of Ray's references will be
        self.furthest: dict[int, int] = {}  # the most tasks done, by the identity of the run
        self.deaths: dict[int, int] = {}  # since then
        self.stillborn = 0  # workers that died before they were ready, in a row

    def _open(self, jobs: int) -> None:
        for _ in range(jobs):
            self._start(None)

    def _start(self, cores: set[int] | None) -> None:
        number = next(self.numbers)
        self.workers[number] = sweep.Member(self.recruit.remote(self.ground), cores, set())
        self._listen(number)

    def _going(self) -> bool:
        return bool(self.busy or self.listed.pending)

    def _listen(self, number: int) -> None:
        self.promised[self.workers[number].process.hear.remote()] = number

    def _ready(self) -> list[Any]:
        return self.ray.wait(list(self.promised), num_returns=1)[0]

    def _hear(self, line: Any) -> None:
        number = self.promised.pop(line)
        try:
            news = self.ray.get(line)
        except self.ray.exceptions.RayError as error:
            self._bury(number, error)
            return
        for kind, content in news:
            self._note(number, kind, content)
        if number in self.workers:
            self._listen(number)

    def _note(self, number: int, kind: str, content: Any) -> None:
        if kind == "refused":
            raise UserError(content)
        if kind == "task":
            self._advance(self.busy[number], *content)
            return
        if kind == "ready":
            self.stillborn = 0
        else:
            self._end(self.busy.pop(number), kind, content)
        self._hand(number, self._take(self.workers[number].compiled))
        if number not in self.busy:  # others may want its core
            self._dismiss(number)

    def _advance(self, config: RunConfig, done: int, value: float | None) -> None:
        if done > self.furthest.get(id(config), 0):
            self.furthest[id(config)] = done
            self.deaths.pop(id(config), None)
        self.on_task(config, done, value)

    def _send(self, line: int, job: RunConfig) -> None:
        patience = LEASE if id(job) in self.deaths else 0.0
        self.workers[line].process.carry_out.remote(job.model_dump_json(), patience)

    def _bury(self, number: int, error: Exception) -> None:
        """Let another worker do what a dead one was to do."""
        self._dismiss(number)  # where it was only out of reach, it is dead now
        if number in self.busy:
            self._retry(number)
        else:
            self.stillborn += 1
            if self.stillborn > RETRIES:
                raise UserError(f"Workers on Ray die before they begin: {_last_line(error)}.")
        if self.listed.pending:
            self._start(None)

    def _retry(self, number: int) -> None:
        run = id(self.busy[number])
        self.deaths[run] = self.deaths.get(run, 0) + 1
        if self.deaths[run] > RETRIES:
            often = f"{self.deaths[run]} times without a new task"
            reason = f"its worker died {often} (killed, out of memory, or its node was lost)"
            self._end(self.busy.pop(number), "failed", reason)
        else:
            self.listed.pending.insert(0, self.busy.pop(number))

    def _dismiss(self, number: int) -> None:
        with suppress(Exception):  # whatever is wrong with it, it is not needed
            self.ray.kill(self.workers.pop(number).process)

    def _close(self) -> None:
        for number in list(self.workers):
            self._dismiss(number)
        for config in self.busy.values():  # so that the next command does not find them held
            released(sweep.folder_of(self.out, config), 5.0)


def environment() -> dict[str, str]:
    """What a worker finds in its environment: what decides numbers here, and our own settings."""
    ours = ("JAX_", "XLA_", "NEOTENY_", "OPENBLAS_")
    own = {name: value for name, value in os.environ.items() if name.startswith(ours)}
    return cache.settings() | own | {"JAX_PLATFORMS": "cpu"}


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[-1].rstrip("."), 200) if lines else type(error).__name__
