"""Trials as runs: asked of Optuna one at a time, carried out by the pool, told to Optuna.

What may go wrong, and why nothing is lost or done twice:

- **A process is killed.** Its trials stay `RUNNING` in the storage, but the kernel lets go of their
  folders' locks. Whoever next looks for work takes them up: same number, same parameters, and each
  run from its checkpoint.
- **Several processes ask at once.** One at a time looks for work, under a lock of the folder, so
  that none begins a trial beyond the budget, and no trial has two hands on it.
- **A run fails.** Its trial stays locked, and so untouched, until this command ends; the next takes
  it up. That it failed, and why, is kept with it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from neoteny import api, store, sweep
from neoteny.config import RunConfig
from neoteny.grid import Point
from neoteny.tuning import plan as plans
from neoteny.tuning.plan import Key, Plan
from neoteny.tuning.search import Space, suggest

WORST = -float("inf")
"""The score of a setting with which a run diverged."""

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving", "hyperband")


class _Open:
    """A trial that this process has in hand: its runs, and what each came to on each task."""

    def __init__(self, key: Key, trial: Any, runs: list[RunConfig], lock: int):
        self.key, self.trial, self.runs, self.lock = key, trial, runs, lock
        self.values: list[dict[int, float]] = [{} for _ in runs]
        self.reported = max(trial.storage.get_trial(trial._trial_id).intermediate_values, default=0)
        self.given_up: str | None = trial.user_attrs.get("pruned")

    def score(self) -> float | None:
        """The mean over seeds of the mean over tasks of what the stream is judged by."""
        means = [np.mean(list(found.values())) for found in self.values if found]
        return float(np.mean(means)) if means else None

    def so_far(self) -> float:
        """The mean over all tasks of all seeds so far."""
        return float(np.mean([value for found in self.values for value in found.values()]))


class Trials:
    """The trials of a plan as a source of runs: every method has as many, turn by turn.

    **Arguments:**

    - `studies`: Optuna's, by stream and method.
    - `folder`: of the tuning's runs. What their streams' names mean is kept there, as in a grid.
    """

    def __init__(self, plan: Plan, studies: Mapping[Key, Any], folder: Path):
        self.plan, self.studies, self.folder = plan, studies, folder
        self.open: dict[str, _Open] = {}  # by the name of its stream
        self.waiting: list[RunConfig] = []
        self.failed: list[sweep.Outcome] = []

    def take(self, compiled: set, held: set) -> RunConfig | None:
        del compiled, held
        if not self.waiting and not self._claim():
            return None
        config = self.waiting.pop(0)
        mine = self.open[config.stream]
        mine.values[self._place(config)] = _stored(sweep.folder_of(self.folder, config), config)
        return config

    def _claim(self) -> bool:
        """Take up a trial that was left, or begin one if the budget has one more."""
        with plans.alone(self.folder):
            begun = {key: study.get_trials(deepcopy=False) for key, study in self.studies.items()}
            for key, trials in begun.items():
                for trial in trials:
                    if not trial.state.is_finished() and self._is_left(key, trial):
                        self._begin(key, trial.number, trial._trial_id)
                        return True
            key = min(begun, key=lambda key: len(begun[key]))  # the first of those with the fewest
            if len(begun[key]) >= self.plan.trials:
                return False
            self._begin(key, len(begun[key]), None)
            return True

    def _is_left(self, key: Key, trial: Any) -> bool:
        """Whether nobody has it in hand and nobody has ended it since it was listed.

        Who ends a trial tells of it and then lets go of the lock; so they are asked the other way.
        """
        if store.is_locked(self._folder(key, trial.number)):
            return False
        now = self.studies[key]._storage.get_trial(trial._trial_id)
        return not now.state.is_finished()

    def _begin(self, key: Key, number: int, trial_id: int | None) -> None:
        import optuna

        study, space = self.studies[key], self.plan.space(key)
        study.sampler = _sampler(self.plan, key, space, number)
        trial = study.ask() if trial_id is None else optuna.trial.Trial(study, trial_id)
        values = suggest(trial, space)  # what was drawn already stays
        study.sampler = optuna.samplers.RandomSampler()  # that of a grid stops what it is told of
        place = self._folder(key, trial.number)
        place.mkdir(parents=True, exist_ok=True)
        runs = plans.runs(self.plan, key, trial.number, values)
        point = {plans.name(key, trial.number): Point(key.stream, values)}
        api.remember(self.plan.study, self.folder, point)
        self.open[runs[0].stream] = _Open(key, trial, runs, store.lock(place))
        self.waiting.append(runs[0])

    def _folder(self, key: Key, number: int) -> Path:
        """Of all runs of a trial: whoever has it in hand holds its lock."""
        return self.folder / plans.name(key, number) / key.method

    def _place(self, config: RunConfig) -> int:
        return config.seed - self.plan.seeds[0]

    def on_task(self, config: RunConfig, done: int, value: float | None) -> str | None:
        """Keep what a task came to; why to prune the run, if it is to be."""
        mine = self.open[config.stream]
        if value is None:
            return None
        mine.values[self._place(config)][done - 1] = value
        step = self._place(config) * config.tasks + done
        if mine.given_up or self.plan.pruner == "none" or step < mine.reported:
            return mine.given_up
        so_far = mine.so_far()
        if step > mine.reported:
            mine.trial.report(so_far, step)
            mine.reported = step
        if mine.trial.should_prune():
            mine.given_up = f"a mean of {so_far:.4g} up to task {step} was too little"
            mine.trial.set_user_attr("pruned", mine.given_up)
        return mine.given_up

    def ended(self, outcome: sweep.Outcome) -> None:
        import optuna

        mine, config = self.open[outcome.config.stream], outcome.config
        score = mine.score()
        if outcome.status == "finished" and score is None:
            outcome = outcome._replace(
                status="failed", reason=f"its tasks have no `{config.setting.metric}` to judge by"
            )
        if outcome.status == "failed":
            known = mine.trial.user_attrs.get("failures", [])
            mine.trial.set_user_attr("failures", [*known, outcome.reason])
            self.failed.append(outcome)
            return
        later = mine.runs[self._place(config) + 1 :]
        if outcome.status == "finished" and later and mine.given_up is None:
            self.waiting.insert(0, later[0])
            return
        if outcome.status == "diverged":
            record = store.read_record(sweep.folder_of(self.folder, config))
            mine.trial.set_user_attr("diverged", f"seed {config.seed}: {record['reason']}")
            self.studies[mine.key].tell(mine.trial, WORST)
        elif outcome.status == "pruned" or later:
            self.studies[mine.key].tell(mine.trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self.studies[mine.key].tell(mine.trial, score)
        os.close(self.open.pop(config.stream).lock)

    def close(self) -> None:
        """Let go of what is still in hand."""
        for mine in self.open.values():
            os.close(mine.lock)
        self.open.clear()


def _stored(folder: Path, config: RunConfig) -> dict[int, float]:
    """What the tasks of a run that was begun have come to."""
    if not (folder / "tasks.parquet").exists():
        return {}
    metric = config.setting.metric
    sql = f'SELECT task, "{metric}" FROM tasks WHERE isfinite("{metric}")'
    return dict(store.connect(folder, spectra=False).execute(sql).fetchall())


def _sampler(plan: Plan, key: Key, space: Space, number: int) -> Any:
    """What draws trial `number`, always alike; methods of a stream begin with the same draws."""
    import optuna

    words = np.random.SeedSequence([plan.seed, crc32(key.stream.encode()), number])
    seed = int(words.generate_state(1)[0])
    if plan.sampler == "grid":
        return optuna.samplers.GridSampler({n: list(axis) for n, axis in space.items()}, plan.seed)
    if plan.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(seed=seed)


def pruner(plan: Plan, key: Key) -> Any:
    """Optuna's pruner; steps are tasks, those of one seed after those of another."""
    import optuna

    tasks = plan.study.streams[key.stream].tasks
    first = plan.warm_up or max(1, tasks // 4)
    if plan.pruner == "median":
        least = max(1, min(5, plan.trials // 4))
        return optuna.pruners.MedianPruner(n_startup_trials=least, n_warmup_steps=first)
    if plan.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    if plan.pruner == "hyperband":
        most = tasks * len(plan.seeds)
        return optuna.pruners.HyperbandPruner(first, max(first, most), reduction_factor=3)
    return optuna.pruners.NopPruner()
