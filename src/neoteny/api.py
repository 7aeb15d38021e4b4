"""The whole job from Python: run a study, ask its tables, read its verdict, write its report."""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neoteny import claims, cluster, store, studies, sweep
from neoteny.config import RunConfig, Study, changed, validated
from neoteny.errors import UserError, unknown

if TYPE_CHECKING:
    from neoteny.estimate import Estimate
    from neoteny.methods import Method
    from neoteny.report.figures import Figure
    from neoteny.report.leaderboard import Standing
    from neoteny.studies import Verdict


class Results(NamedTuple):
    """A folder of runs, or of a claim's measurements, and how each that was asked for ended."""

    folder: Path
    outcomes: tuple[sweep.Outcome, ...] = ()

    def query(self, sql: str) -> store.Result:
        """Answer SQL over the tables `runs`, `tasks` and `spectra`."""
        return store.query(self.folder, sql)

    def verdict(self, study: str | None = None) -> "list[Verdict]":
        """What the runs say about each claim of their own study, or of the one that is named."""
        with store.asking():
            return _judged(store.connect(self.folder, spectra=False), study)

    def findings(self) -> "dict[str, list[claims.Finding]]":
        """What is found of each claim of the literature that was measured here, by its name."""
        with store.asking():
            connection = store.connect(self.folder, spectra=False)
            return {name: claims.judge(connection, name) for name in claims.stored(connection)}

    def table(self) -> list[dict[str, Any]]:
        """The methods of every stream side by side, as rows."""
        from neoteny import report

        with store.asking():
            connection = store.connect(self.folder, spectra=False)
            claims.leave_out(connection)
            return report.methods_summary(connection)

    def report(self, path: Path | str | None = None, *, episodes: bool = False) -> Path:
        """Write the self-contained HTML report; by default `report.html` in the folder.

        With `episodes` it shows one of each method of agents, acted anew from its checkpoint.
        """
        from neoteny import report

        shown, tuned = [], (self.folder / store.TUNING).exists()  # which makes no claim
        if episodes:
            from neoteny.episodes import of_runs

            shown = of_runs(self.folder)

        with store.asking():
            connection = store.connect(self.folder)
            target = Path(path or self.folder / "report.html")
            if claims.alone(connection):
                return claims.write_page(connection, target)
            verdict = None if tuned else [one._asdict() for one in _judged(connection)]
            claims.leave_out(connection)
            return report.write(
                connection,
                target,
                title=_title(self.folder),
                verdict=verdict,
                reproduce=_reproduce(self.folder),
                episodes=shown,
                settings=self.sensitivity(),
            )

    def leaderboard(
        self, path: Path | str | None = None, methods: str | Sequence[str] | None = None
    ) -> "Standing":
        """How methods stand over all streams; also as a page, by default `leaderboard.html`."""
        from neoteny.report import leaderboard

        with store.asking():
            connection = store.connect(self.folder, spectra=False)
            claims.refuse_alone(connection, self.folder)
            claims.leave_out(connection)
            found = leaderboard.standing(connection, None if methods is None else _listed(methods))
            leaderboard.write(connection, Path(path or self.folder / "leaderboard.html"), found)
        return found

    def settings(self) -> list[dict[str, Any]]:
        """How each method did at each setting of the grid that was swept, the best first.

        Empty where there was no grid; see `neoteny.grid.best`.
        """
        from neoteny import grid

        points = _points(self.folder)
        with store.asking():
            return grid.best(store.connect(self.folder, spectra=False), points) if points else []

    def sensitivity(self) -> "list[Figure]":
        """The score against each setting that was varied, by a grid here or a tuning below."""
        from neoteny import grid
        from neoteny.report import sensitivity

        tried = []
        for folder in (self.folder, self.folder / "tuning"):
            if (points := _points(folder)) and store.find_runs(folder):
                tried += grid.tried(store.connect(folder, spectra=False), points)
        return sensitivity(tried)

    def figures(self, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
        """Write each figure of the report, and `overview.png` of them all, into `figures/`."""
        from neoteny import report

        with store.asking():
            connection, folder = store.connect(self.folder), self.folder / "figures"
            if claims.alone(connection):
                return claims.write_pictures(connection, folder)
            claims.leave_out(connection)
            drawn = report.save_figures(
                connection, folder, formats=tuple(formats), settings=self.sensitivity()
            )
            return [*drawn, report.save_overview(connection, folder / "overview.png")]


def _judged(connection: Any, study: str | None = None) -> "list[Verdict]":
    """The verdicts on all that is stored, claims of the literature included."""
    measured = claims.stored(connection)
    wanted = [name for name in measured if study in (name, None) or study not in claims.NAMES]
    found = [claims.verdict(one) for name in wanted for one in claims.judge(connection, name)]
    if study in claims.NAMES:
        return found
    return [*found, *studies.judge(connection, study, besides=measured)]


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
    if isinstance(study, str) and study in claims.NAMES:
        raise UserError(
            f"`{study}` is a claim of the literature, and no study of methods. `neoteny run "
            f"{study}` measures it."
        )
    if isinstance(study, str) and study not in studies.STUDIES and not study.endswith(".toml"):
        raise unknown("study", study, [*studies.STUDIES, *claims.NAMES])
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
    on: str = "local",
    jobs: int | None = None,
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

    - `study`: a name (`neoteny list studies`), a TOML file, or a `Study`; or a claim's name
      (`neoteny list claims`), which takes `scale`, `out`, `seeds`, `jobs` and `data`.
    - `scale`, `protocol`: of a study that comes in several sizes; see `studies.load`.
    - `out`: the folder of its runs; by default `runs/<study>`.
    - `methods`: names, or functions that return a `Method`, in a list; or a text with commas, as
      `"bp,l2_er"`. Those of the study if not given.
    - `seeds`: how many, counted from the study's `first_seed`.
    - `on`: `local` for this machine; `ray`, `ray://HOST:PORT` or `HOST:PORT` for the cores of a
      cluster, see `docs/clusters.md`: `out`, `data` and `plugins` must be the same on all of its
      nodes.
    - `jobs`: processes, by default one, each on its own share of the cores; an accelerator is used
      by one. On Ray the most workers at once, by default one for each of its CPUs. With more than
      one process, methods of your own must come as a file in `plugins`, which each loads.
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

    if isinstance(study, str) and study in claims.NAMES:
        given = {"protocol": protocol, "methods": methods, "together": together, "grid": grid,
                 "changes": changes, "plugins": plugins, "on": on != "local",
                 "part": part != (0, 1)}  # fmt: skip
        claims.refuse(study, [name for name, value in given.items() if value])
        place = Path(out or Path("runs") / study)
        told = {"on_start": on_start, "on_task": on_task}
        source = Path(data) if data else None
        measured = claims.run(
            claims.load(study), place, scale=scale or "desk", seeds=seeds, jobs=jobs or 1,
            data=source, **told,
        )  # fmt: skip
        return Results(place, tuple(measured))
    apart = _apart(on, together)
    paths = [Path(path) for path in plugins]
    for path in paths:
        plugin_files.load(path)
    asked = plan(
        study, scale=scale, protocol=protocol, methods=methods, seeds=seeds, changes=changes
    )
    on_host = any(rl.on_host(setting.stream.environment) for setting in asked.streams.values())
    on_cpu = loop.on_cpu()
    together = not (on_cpu or on_host or apart) if together is None else together
    if not together:
        refuse_local(methods, jobs, on if apart else None)
    folder = Path(out or Path("runs") / asked.name)
    source = Path(data) if data else None
    runs, points = runs_of(asked, grid, part)
    if together:
        loop.refuse_together(runs)
    check(runs, folder, source, download)
    remember(asked, folder, points)
    on_start(runs)
    told: dict[str, Any] = {"data": source, "plugins": paths, "on_task": on_task}
    if apart:
        outcomes = cluster.run_all(runs, folder, on=on, jobs=jobs, **told)
    else:
        turns = (jobs or 1) if on_cpu else 1  # runs apart take turns on an accelerator
        outcomes = sweep.run_all(runs, folder, jobs=turns, together=together, **told)
    return Results(folder, tuple(outcomes))


def _apart(on: str, together: bool | None) -> bool:
    """Whether runs go to a cluster, each apart from the others; refuses what is no place."""
    if on == "local":
        return False
    if on == "slurm":
        raise UserError(
            "`on` is slurm, which takes a script: `neoteny run STUDY --on slurm` prints it."
        )
    cluster.check(on)
    if together:
        raise UserError(
            f"`together` puts all seeds of a method into one process, but `on` is {on}, where "
            "runs go apart. Leave one of them out."
        )
    return True


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


def refuse_local(
    methods: "str | Sequence[str | Callable[..., Method]] | None",
    jobs: int | None,
    on: str | None = None,
) -> None:
    """Refuse methods that are functions of this process where others are to run them."""
    local = [recipe for recipe in _listed(methods or ()) if callable(recipe)]
    if local and (on or (jobs or 1) > 1):
        asking = f"`on` is {on}" if on else f"`jobs` is {jobs}"
        raise UserError(
            f"{asking}, but `{local[0].__name__}` lives in this process alone. Put it in a file "
            "that adds it to METHODS and pass `plugins=[file]`, or use `jobs=1` here."
        )


def _listed(methods: "str | Sequence[str | Callable[..., Method]]") -> list[Any]:
    """A text with commas, as people type it, stands for the list of its names."""
    if isinstance(methods, str):
        return [name.strip() for name in methods.split(",") if name.strip()]
    return list(methods)


def _datasets(runs: Sequence[RunConfig]) -> list[str]:
    """The data sets that runs learn from; agents have none."""
    learners = [config.setting for config in runs if config.setting.agent is None]
    return sorted({setting.stream.dataset for setting in learners})


def check(runs: Sequence[RunConfig], folder: Path, data: Path | None, download) -> None:
    """Find at the door what would make a run fail, and say it before any is started."""
    from neoteny import loop, streams

    place = partial(sweep.folder_of, folder)
    ended = lambda config: store.ended(place(config), config.model_dump(mode="json"))
    todo = [config for config in runs if not ended(config)]
    for name in _datasets(todo):
        streams.load(name, folder=data, progress=download)
    for config in todo:
        try:
            loop.check(config, place(config), data=data)
        except UserError:
            raise
        except Exception as error:  # of a method, stream or probe that somebody is still writing
            which = f"`{config.method}` on `{config.stream}` cannot be built"
            raise UserError(f"{which}: {sweep.in_one_line(error)}.") from error


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


def remember(study: Study, folder: Path, points: Mapping[str, Any]) -> None:
    """Keep in `folder` what was asked for, and add what the names of these streams mean."""
    command = [without_password(word) for word in _whole(sys.argv[1:])]
    document = {"study": study.model_dump(mode="json"), "command": command}
    with store.hold(folder):  # or of two sweeps that start at once, one's points would be lost
        known = _points(folder) | dict(points)
        if known:
            document["grid"] = {name: point._asdict() for name, point in known.items()}
        store.write_text(folder / "study.json", json.dumps(document, indent=2))


def without_password(word: str) -> str:
    """`word` as it may be shown and kept: if it is a URL, without the password in it."""
    word = re.sub(r"(://[^:/@]*):.*@", r"\1@", word)
    return re.sub(r"(?<=[?&])password=[^&]*&?", "", word)


def _whole(words: Sequence[str]) -> list[str]:
    """A command without `--part` and `--on`: which runs it carried out, and where, is its own."""
    kept = list(words)
    for option in ("--part", "--on"):
        kept = [word for word in kept if not word.startswith(f"{option}=")]
        place = kept.index(option) if option in kept else len(kept)
        kept = [*kept[:place], *kept[place + 2 :]]
    return kept


def _recalled(folder: Path, what: str, kind: type) -> Any:
    """What `study.json` says of something, if it is of that kind; else nothing of it."""
    try:
        content = (folder / "study.json").read_text(encoding="utf-8", errors="replace")
        found = json.loads(content)[what]
        json.dumps(found, ensure_ascii=False).encode()
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return kind()
    return found if isinstance(found, kind) else kind()


def _points(folder: Path) -> dict[str, Any]:
    """Of a grid that was swept: which setting each stream's name means."""
    from neoteny import grid

    return {
        name: grid.Point(point["stream"], point["values"])
        for name, point in _recalled(folder, "grid", dict).items()
        if isinstance(point, dict)
        and isinstance(point.get("stream"), str)
        and isinstance(point.get("values"), dict)
    }


def _title(folder: Path) -> str:
    return _named(folder, "title") or _named(folder, "name") or folder.name


def _named(folder: Path, what: str) -> str:
    name = _recalled(folder, "study", dict).get(what, "")
    return name if isinstance(name, str) else ""


def _reproduce(folder: Path) -> str:
    import shlex

    name = _named(folder, "name") or folder.name
    command = _recalled(folder, "command", list)
    trains = command[:1] in (["run"], ["sweep"], ["tune"])
    if not trains or not all(isinstance(word, str) for word in command):
        command = ["run", name]
    return f"neoteny {shlex.join(command)}"
