"""Studies: runs arranged so that a claim can be judged, and the judgement."""

from collections.abc import Iterable
from pathlib import Path

from neoteny.config import RunConfig, Setting, Study, validated
from neoteny.errors import UserError, unknown
from neoteny.studies import early_warning, plasticity, what_predicts_plasticity
from neoteny.studies.early_warning import EARLY_WARNING
from neoteny.studies.plasticity import Verdict, late_gap
from neoteny.studies.spectral_collapse_digits import SPECTRAL_COLLAPSE_DIGITS
from neoteny.studies.what_predicts_plasticity import WHAT_PREDICTS_PLASTICITY

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (SPECTRAL_COLLAPSE_DIGITS, WHAT_PREDICTS_PLASTICITY, EARLY_WARNING)
}
"""The studies that come with neoteny, by name."""

JUDGES = {
    WHAT_PREDICTS_PLASTICITY.name: what_predicts_plasticity.judge,
    EARLY_WARNING.name: early_warning.judge,
}
"""Studies with a claim of their own; of all others the claim is that of `plasticity`."""


def judge(connection, study: str | None = None) -> list[Verdict]:
    """Judge the runs behind `connection` (see `neoteny.store.connect`), study by study.

    With `study` all are judged by the claim of that one, whichever they were run for: so the runs
    of `what-predicts-plasticity` also answer `early-warning`.

    **Raises:** `UserError` for a study that is not known.
    """
    rows = connection.execute("SELECT DISTINCT study FROM tasks ORDER BY study").fetchall()
    if study is not None and study not in STUDIES:
        raise unknown("study", study, STUDIES)
    if study is not None and study not in JUDGES:
        return plasticity.judge(connection)
    judges = {name: JUDGES.get(study or name) for (name,) in rows}
    own = [
        verdict
        for name, judge_one in judges.items()
        if judge_one is not None
        for verdict in judge_one(connection, name)
    ]
    besides = tuple(name for name, judge_one in judges.items() if judge_one is not None)
    return [*plasticity.judge(connection, besides=besides), *own]


def advise(runs: Iterable[RunConfig]) -> list[str]:
    """What to change in runs that would measure too seldom for a verdict: a sentence a stream.

    A study made shorter keeps the cadences of the long one.
    """
    settings = {run.stream: run.setting for run in runs if run.study not in JUDGES}
    return [
        f"With {setting.tasks} tasks, `{stream}` would not measure {' nor '.join(seldom.values())} "
        f"in the last third of them, and a verdict needs that. Add "
        f"{' '.join(f'`--set {typed}`' for typed in seldom)}."
        for stream, setting in settings.items()
        if (seldom := _too_seldom(stream, setting))
    ]


def _too_seldom(stream: str, setting: Setting) -> dict[str, str]:
    """What to set, and what it measures."""
    watched = {"fresh_every": "a fresh network", "spectrum_every": "a spectrum"}
    return {
        f"streams.{stream}.probes.{field}={plasticity.cadence(setting.tasks)}": what
        for field, what in watched.items()
        if plasticity.seldom(setting.tasks, getattr(setting.probes, field))
    }


def load(name: str) -> Study:
    """A study by its name, or from a TOML file of the same fields.

    **Raises:** `UserError` for an unknown name, or a file that is missing, no TOML, or has a
    field that is unknown or impossible.
    """
    if name in STUDIES:
        return STUDIES[name]
    if not name.endswith(".toml"):
        raise unknown("study", name, STUDIES)
    return _from_toml(Path(name))


def _from_toml(path: Path) -> Study:
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"Cannot read the study {path}: {error.strerror}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}.") from None
    return validated(Study, {"name": path.stem} | data)


__all__ = ["STUDIES", "Study", "Verdict", "advise", "judge", "late_gap", "load"]
