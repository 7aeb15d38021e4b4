"""The whole job from Python: run a study, ask its tables, read its verdict, write its report."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neoteny import store, studies, sweep
from neoteny.config import RunConfig, Study, changed, validated
from neoteny.errors import UserError, unknown

if TYPE_CHECKING:
    from neoteny.estimate import Estimate
    from neoteny.methods import Method
    from neoteny.report.leaderboard import Standing
    from neoteny.studies import Verdict


class Results(NamedTuple):
    """A folder of runs, and how each run asked for ended."""

    folder: Path
    outcomes: tuple[sweep.Outcome, ...] = ()

    def query(self, sql: str) -> store.Result:
        """Answer SQL over the tables `runs`, `tasks` and `spectra`."""
        return store.query(self.folder, sql)

    def verdict(self, study: str | None = None) -> "list[Verdict]":
        """What the runs say about each claim of their own study, or of the one that is named."""
        return studies.judge(store.connect(self.folder, spectra=False), study)

    def table(self) -> list[dict[str, Any]]:
        """The methods of every stream side by side, as rows."""
        from neoteny import report

        return report.methods_summary(store.connect(self.folder, spectra=False))

    def report(self, path: Path | str | None = None, *, episodes: bool = False) -> Path:
        """Write the self-contained HTML report; by default `report.html` in the folder.

        With `episodes` it shows one of each method of agents, acted anew from its checkpoint.
        """
        from neoteny import report

        shown = []
        if episodes:
            from neoteny.episodes import of_runs

            shown = of_runs(self.folder)

        return report.write(
            store.connect(self.folder),
            Path(path or self.folder / "report.html"),
            title=_title(self.folder),
            verdict=[verdict._asdict() for verdict in self.verdict()],
            reproduce=_reproduce(self.folder),
            episodes=shown,
        )

    def leaderboard(
        self, path: Path | str | None = None, methods: str | Sequence[str] | None = None
    ) -> "Standing":
        """How methods stand over all streams; also as a page, by default `leaderboard.html`."""
        from neoteny.report import leaderboard

        connection = store.connect(self.folder, spectra=False)
        found = leaderboard.standing(connection, None if methods is None else _listed(methods))
        leaderboard.write(connection, Path(path or self.folder / "leaderboard.html"), found)
        return found

    def settings(self) -> list[dict[str, Any]]:
        """How each method did at each setting of the grid that was swept, the best first.

        Empty where there was no grid; see `neoteny.grid.best`.
        """
        from neoteny import grid

        points = {
            name: grid.Point(**point)
            for name, point in _recalled(self.folder).get("grid", {}).items()
        }
        return grid.best(store.connect(self.folder, spectra=False), points) if points else []

    def figures(self, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
        """Write each figure of the report, and `overview.png` of them all, into `figures/`."""
        from neoteny import report

        connection, folder = store.connect(self.folder), self.folder / "figures"
        drawn = report.save_figures(connection, folder, formats=tuple(formats))
        return [*drawn, report.save_overview(connection, folder / "overview.png")]


def plan(
    study: str | Study,
    *,
    scale: str | None = None,
    protocol: str | None = None,
    methods: "str | Sequence[str | Callable[..., Method]] | None" = None,
    seeds: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Study:
    """A study by name or file with some of it changed, checked as far as data can be.

    A method may be given as a function; it is then known under the function's name.
    """
    from neoteny.methods import METHODS, make

    if not isinstance(study, str) and (scale or protocol):
        raise UserError(
            f"`scale` is {scale} and `protocol` {protocol}, but a `Study` is of one size already. "
            f"Pass its name instead, one of {', '.join(studies.SIZED)}."
        )
    known = studies.load(study, scale, protocol) if isinstance(study, str) else study
    fields = changed(known, dict(changes or {})).model_dump()
    if methods is not None:
        listed = _listed(methods)
        own = [recipe for recipe in listed if not isinstance(recipe, str)]
        METHODS.update({recipe.__name__: recipe for recipe in own})
        names = [recipe if isinstance(recipe, str) else recipe.__name__ for recipe in listed]
        fields["methods"] = tuple(dict.fromkeys(names))
    if seeds is not None:
        fields["seeds"] = seeds
    asked: Study = validated(Study, fields)
    for setting in asked.streams.values():
        if strangers := (setting.hyperparameters | setting.training_of).keys() - METHODS.keys():
            raise unknown("method with settings of its own", min(strangers), METHODS)
        for method, values in setting.hyperparameters.items():
            make(method, values)  # a typo is one even where that method is not run this time
    return asked


def run(
    study: str | Study,
    *,
    scale: str | None = None,
    protocol: str | None = None,
    out: Path | str | None = None,
    methods: "str | Sequence[str | Callable[..., Method]] | None" = None,
    seeds: int | None = None,
    jobs: int = 1,
    together: bool | None = None,
    data: Path | str | None = None,
    plugins: Sequence[Path | str] = (),
    changes: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    part: tuple[int, int] = (0, 1),
    on_start: Callable[[list[RunConfig]], None] = lambda runs: None,
    on_task: sweep.OnTask = lambda config, done, value: None,
    download: Callable[[str, int, int], None] | None = None,
) -> Results:
    """Run a study: every method and seed on every stream, continuing whatever was begun.

    **Arguments:**

    - `study`: a name (`neoteny list studies`), a TOML file, or a `Study`.
    - `scale`, `protocol`: of a study that comes in several sizes; see `studies.load`.
    - `out`: the folder of its runs; by default `runs/<study>`.
    - `methods`: names, or functions that return a `Method`, in a list; or a text with commas, as
      `"bp,l2_er"`. Those of the study if not given.
    - `seeds`: how many, counted from the study's `first_seed`.
    - `jobs`: processes, each on its own share of the cores; an accelerator is used by one. With
      more than one, methods of your own must come as a file in `plugins`, which each loads.
    - `together`: whether all seeds of a method on a stream learn in lockstep, as one compiled
      program in one process, whatever `jobs`; on an accelerator if not given, but for agents whose
      environment is not compiled. Their numbers agree with those of runs apart but for rounding,
      and their bits depend on how many seeds there are.
    - `data`: folder of data sets that are not embedded.
    - `changes`: fields of the study by dotted path, as `{"tasks": 5}`.
    - `grid`: values to try of some fields, as `{"lr": [0.01, 0.001]}`, every combination of them:
      see `neoteny.grid.expand`.
    - `part`: `(i, n)` runs each n-th run from the i-th on, counted from 0, so that n processes or
      machines that share `out` do it all.
    - `on_start`, `on_task`, `download`: told of the runs, of each finished task, and of each
      part of a data set that arrives.

    **Raises:** `UserError` before anything is run, if any run of the study cannot work.
    """
    from neoteny import loop, rl
    from neoteny import plugins as plugin_files

    paths = [Path(path) for path in plugins]
    for path in paths:
        plugin_files.load(path)
    asked = plan(
        study, scale=scale, protocol=protocol, methods=methods, seeds=seeds, changes=changes
    )
    on_host = any(rl.on_host(setting.stream.environment) for setting in asked.streams.values())
    on_cpu = loop.on_cpu()
    together = not on_cpu and not on_host if together is None else together
    local = [recipe for recipe in _listed(methods or ()) if callable(recipe)]
    if local and jobs > 1 and not together:
        raise UserError(
            f"`jobs` is {jobs}, but `{local[0].__name__}` lives in this process alone. Put it in a "
            "file that adds it to METHODS and pass `plugins=[file]`, or use `jobs=1`."
        )
    folder = Path(out or Path("runs") / asked.name)
    source = Path(data) if data else None
    runs, points = runs_of(asked, grid, part)
    if together:
        loop.refuse_together(runs)
    _check(runs, folder, source, download)
    _remember(asked, folder, points)
    on_start(runs)
    outcomes = sweep.run_all(
        runs,
        folder,
        jobs=jobs if on_cpu else 1,  # runs apart take turns on an accelerator
        data=source,
        plugins=paths,
        on_task=on_task,
        together=together,
    )
    return Results(folder, tuple(outcomes))


def estimate(
    study: str | Study,
    *,
    jobs: int = 1,
    data: Path | str | None = None,
    plugins: Sequence[Path | str] = (),
    grid: Mapping[str, Sequence[Any]] | None = None,
    part: tuple[int, int] = (0, 1),
    **choice: Any,
) -> "Estimate":
    """How long a study would take here, from a few of its steps; trains and writes nothing.

    **Arguments:** as of `run`; `choice` has those of `plan`.

    **Raises:** `UserError` as `run` does.
    """
    from neoteny import plugins as plugin_files
    from neoteny import streams

    paths = [Path(path) for path in plugins]
    for path in paths:
        plugin_files.load(path)
    runs, _ = runs_of(plan(study, **choice), grid, part)
    source = Path(data) if data else None
    for name in _datasets(runs):
        streams.load(name, folder=source)
    return sweep.estimate(runs, jobs=jobs, data=source, plugins=paths)


def _listed(methods: "str | Sequence[str | Callable[..., Method]]") -> list[Any]:
    """A text with commas, as people type it, stands for the list of its names."""
    if isinstance(methods, str):
        return [name.strip() for name in methods.split(",") if name.strip()]
    return list(methods)


def _datasets(runs: list[RunConfig]) -> list[str]:
    """The data sets that runs learn from; agents have none."""
    learners = [config.setting for config in runs if config.setting.agent is None]
    return sorted({setting.stream.dataset for setting in learners})


def _check(runs: list[RunConfig], folder: Path, data: Path | None, download) -> None:
    """Find at the door what would make a run fail, and say it before any is started."""
    from neoteny import loop, streams

    for name in _datasets(runs):
        streams.load(name, folder=data, progress=download)
    for config in runs:
        try:
            loop.check(config, sweep.folder_of(folder, config), data=data)
        except UserError:
            raise
        except Exception as error:  # of a method, stream or probe that somebody is still writing
            place = f"`{config.method}` on `{config.stream}` cannot be built"
            raise UserError(f"{place}: {sweep.in_one_line(error)}.") from error


def runs_of(
    study: Study, grid: Mapping[str, Sequence[Any]] | None, part: tuple[int, int] = (0, 1)
) -> tuple[list[RunConfig], dict[str, Any]]:
    """The runs of a study, its grid and a part of them; and what streams' names mean in a grid."""
    from neoteny import grid as grids

    place, parts = part
    if parts < 1:
        raise UserError(f"`part` is {place}/{parts}, but there is one part at least, as 0/4.")
    if not 0 <= place < parts:
        raise UserError(
            f"`part` is {place}/{parts}, but parts are counted from 0: of {parts}, pass 0 to "
            f"{parts - 1}."
        )
    runs, points = grids.expand(study, grid) if grid else (sweep.expand(study), {})
    if place >= len(runs):
        raise UserError(f"`part` is {place}/{parts}, but there are only {len(runs)} runs.")
    return runs[place::parts], points


def _remember(study: Study, folder: Path, points: Mapping[str, Any]) -> None:
    document = {"study": study.model_dump(mode="json"), "command": _whole(sys.argv[1:])}
    known = _recalled(folder).get("grid", {})
    if points or known:
        document["grid"] = known | {name: point._asdict() for name, point in points.items()}
    store.write_text(folder / "study.json", json.dumps(document, indent=2))


def _whole(words: Sequence[str]) -> list[str]:
    """A command without `--part`: that of which it carried out one."""
    kept = [word for word in words if not word.startswith("--part=")]
    place = kept.index("--part") if "--part" in kept else len(kept)
    return [*kept[:place], *kept[place + 2 :]]


def _recalled(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _title(folder: Path) -> str:
    study = _recalled(folder).get("study", {})
    return study.get("title") or study.get("name") or folder.name


def _reproduce(folder: Path) -> str:
    import shlex

    name = _recalled(folder).get("study", {}).get("name", folder.name)
    command = _recalled(folder).get("command") or ["run", name]
    arguments = (
        shlex.join(command) if command[:1] in (["run"], ["sweep"]) else f"run {shlex.quote(name)}"
    )
    return f"neoteny {arguments}"
