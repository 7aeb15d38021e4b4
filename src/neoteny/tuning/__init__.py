"""Fair tuning: every method is given the same number of trials, on seeds that no result is told on.

A trial is one setting of one method on one stream: its learning rate and its own hyperparameters,
chosen by Optuna, and a run for each tuning seed. Its score is the mean over these runs of the mean
over tasks of what the stream is judged by. Methods take turns, so that at any time their budgets
differ by one trial at most. What was found is a study like any other, `tuned.toml`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neoteny import api, loop, store, sweep
from neoteny import plugins as plugin_files
from neoteny.config import RunConfig, Study
from neoteny.errors import UserError, unknown
from neoteny.tuning import plan as plans
from neoteny.tuning import search as searching
from neoteny.tuning import storage as storages
from neoteny.tuning import tuned
from neoteny.tuning.plan import FOLDER, Key, Plan
from neoteny.tuning.trials import PRUNERS, SAMPLERS, Trials
from neoteny.tuning.trials import pruner as pruner_of

if TYPE_CHECKING:
    from neoteny.methods import Method

__all__ = ["PRUNERS", "SAMPLERS", "Tuning", "tune"]


class Tuning(NamedTuple):
    """What a tuning came to.

    - `folder`: of the runs that were tried; `Results(folder)` asks, shows and reports them.
    - `budgets`: see `neoteny.tuning.tuned.budgets`.
    - `path`, `study`: the best settings as a file and as what is in it, None until all trials of
      every method have ended and one of each came through.
    - `failed`: runs that failed; the same call tries them again.
    - `left`: trials that have not ended: those that failed, or that other processes are at.
    """

    folder: Path
    budgets: list[dict[str, Any]]
    path: Path | None
    study: Study | None
    failed: tuple[sweep.Outcome, ...]
    left: int


def tune(
    study: str | Study,
    *,
    trials: int = 20,
    seeds: int = 2,
    first_seed: int = 1000,
    search: Mapping[str, Any] | None = None,
    sampler: str = "tpe",
    pruner: str = "none",
    warm_up: int | None = None,
    seed: int = 0,
    storage: str | None = None,
    out: Path | str | None = None,
    methods: "str | Sequence[str | Callable[..., Method]] | None" = None,
    jobs: int = 1,
    data: Path | str | None = None,
    plugins: Sequence[Path | str] = (),
    scale: str | None = None,
    protocol: str | None = None,
    changes: Mapping[str, Any] | None = None,
    on_start: Callable[[list[RunConfig]], None] = lambda runs: None,
    on_task: sweep.OnTask = lambda config, done, value: None,
    download: Callable[[str, int, int], None] | None = None,
) -> Tuning:
    """Look for the best settings of each method on each stream, continuing what was begun.

    **Arguments:**

    - `study`, `methods`, `jobs`, `data`, `plugins`, `scale`, `protocol`, `changes`, `download`: as
      of `neoteny.run`. `jobs` trials go on at once.
    - `trials`: settings that each method may try on each stream.
    - `seeds`, `first_seed`: what each setting is tried on; the study that is written refuses to be
      run on them.
    - `search`: what is searched, in place of what is declared, by name: see
      `neoteny.tuning.search.spaces`.
    - `sampler`: `tpe` (Optuna's), `random`, or `grid`, that cuts each range so that there are
      `trials` combinations.
    - `pruner`: `none`; or Optuna's `median`, `halving` or `hyperband`, that give up a setting which
      does worse than others of the same method on the same stream, after `warm_up` tasks at the
      earliest (a quarter of them if not given).
    - `seed`: of the sampler. One process with `jobs=1` repeats itself.
    - `storage`: a database's URL, as `postgresql://USER@HOST/DATABASE`; by default `tuning.db` in
      `out`. Calls in several processes or machines that share storage and `out` share the trials.
    - `out`: `tuned.toml` comes to lie there, and all runs below its `tuning`; by default
      `runs/STUDY-tuned`.
    - `on_start`, `on_task`: told of the runs that there will be at most, and of each finished task.

    **Raises:** `UserError` before anything is run if that cannot work; or if the storage cannot be
    reached.
    """
    storages.require()
    _check(trials, seeds, first_seed, sampler, pruner, warm_up)
    paths, source = [Path(path) for path in plugins], Path(data) if data else None
    for path in paths:
        plugin_files.load(path)
    api.refuse_local(methods, jobs)
    asked = api.plan(study, scale=scale, protocol=protocol, methods=methods, changes=changes)
    spaces = searching.spaces(asked, search or {})
    plan = Plan(
        study=asked,
        seeds=tuple(range(first_seed, first_seed + seeds)),
        trials=trials,
        spaces=searching.gridded(spaces, trials) if sampler == "grid" else spaces,
        sampler=sampler,
        pruner=pruner,
        warm_up=warm_up,
        seed=seed,
        storage=storage and api.without_password(storage),
    )
    _refuse_seeds(plan)
    folder = Path(out or Path("runs") / f"{asked.name}-tuned") / FOLDER
    plans.check(folder, plan)
    api.check(_extremes(plan), folder, source, download)
    folder.mkdir(parents=True, exist_ok=True)
    with storages.connected(storage, folder) as database:
        trials_of = _studies(database, plan, folder)
        _tell_of_all(plan, trials_of, on_start, on_task)
        with closing(Trials(plan, trials_of, folder)) as ours:
            sweep.work_through(
                ours,
                folder,
                jobs=min(jobs, len(plan.pairs()) * trials) if loop.on_cpu() else 1,
                data=source,
                plugins=paths,
                on_task=_both(on_task, ours.on_task),
            )
        tried = {key: one.get_trials(deepcopy=False) for key, one in trials_of.items()}
    return _concluded(plan, folder, tried, ours.failed)


def _check(
    trials: int, seeds: int, first_seed: int, sampler: str, pruner: str, warm_up: int | None
) -> None:
    for name, number in {"trials": trials, "seeds": seeds, "warm_up": warm_up}.items():
        if number is not None and number < 1:
            raise UserError(f"`{name}` is {number}, but there must be one at least.")
    if not 0 <= first_seed <= 2**32 - seeds:
        raise UserError(f"`first_seed` is {first_seed}, but seeds are from 0 to 2**32 - 1.")
    for name, value, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if value not in known:
            raise unknown(name, value, known)


def _refuse_seeds(plan: Plan) -> None:
    """Nobody reports results on the seeds that chose the settings."""
    first, count = plan.study.first_seed, plan.study.seeds
    if set(range(first, first + count)) & set(plan.seeds):
        raise UserError(
            f"Tuning on seeds {plan.seeds[0]} to {plan.seeds[-1]} would flatter the results, which "
            f"are for seeds {first} to {first + count - 1}. Pass another first seed for one of "
            f"them: `--first-seed {first + count + 1000}`."
        )


def _tell_of_all(plan: Plan, studies: Mapping[Key, Any], on_start: Any, on_task: Any) -> None:
    """Say which runs there will be, by names and seeds, and which of them have ended before."""
    expected, ended = [], []
    for key in plan.pairs():
        like = plans.runs(plan, key, 0, searching.corners(plan.space(key))[0])
        trials = studies[key].get_trials(deepcopy=False)
        for number in range(plan.trials):
            name = plans.name(key, number)
            runs = [run.model_copy(update={"stream": name}) for run in like]
            expected += runs
            ended += runs if number < len(trials) and trials[number].state.is_finished() else []
    on_start(expected)
    for run in ended:
        on_task(run, run.tasks, None)


def _extremes(plan: Plan) -> list[RunConfig]:
    """A run at either end of every method's ranges."""
    return [
        plans.runs(plan, key, 0, values)[0].model_copy(update={"stream": key.stream})
        for key in plan.pairs()
        for values in searching.corners(plan.space(key))
    ]


def _studies(database: Any, plan: Plan, folder: Path) -> dict[Key, Any]:
    """Optuna's studies, of which each knows one method on one stream and nothing of others."""
    found = {}
    with plans.alone(folder):
        plans.check(folder, plan)  # somebody may have been faster
        identity = plans.enter(folder, plan)
        for key in plan.pairs():
            name = f"{plan.study.name}/{key.stream}/{key.method}"
            found[key] = storages.study_of(database, name, identity)
            found[key].pruner = pruner_of(plan, key)
    return found


def _both(tell: sweep.OnTask, heed: sweep.OnTask) -> sweep.OnTask:
    def on_task(config: RunConfig, done: int, value: float | None) -> str | None:
        tell(config, done, value)
        return heed(config, done, value)

    return on_task


def _concluded(
    plan: Plan, folder: Path, trials: dict[Key, list[Any]], failed: list[sweep.Outcome]
) -> Tuning:
    rows = tuned.budgets(plan, trials, folder)
    left = sum(max(0, plan.trials - row["trials"]) for row in rows)
    path = found = None
    if not left and all(row["score"] is not None for row in rows):
        best = {key: tuned.winner(trials[key]) for key in plan.pairs()}
        found = tuned.study(plan, {key: tuned.chosen(plan, key, best[key]) for key in best})
        path = folder.parent / "tuned.toml"
        store.write_text(path, tuned.toml(found, tuned.heading(plan, rows)))
    return Tuning(folder, rows, path, found, tuple(failed), left)
