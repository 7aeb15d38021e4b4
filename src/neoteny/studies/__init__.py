"""Studies: runs arranged so that a claim can be judged, and the judgement."""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path

from neoteny.config import RunConfig, Setting, Study, validated
from neoteny.errors import UserError, unknown
from neoteny.studies import (
    continual_imagenet,
    early_warning,
    incremental_cifar,
    permuted_mnist,
    plasticity,
    published,
    returns,
    scales,
    slippery_ant,
    what_predicts_plasticity,
)
from neoteny.studies.borrowed_methods import BORROWED_METHODS
from neoteny.studies.continual_cartpole import CONTINUAL_CARTPOLE
from neoteny.studies.early_warning import EARLY_WARNING
from neoteny.studies.plasticity import Verdict, late_gap
from neoteny.studies.spectral_collapse_digits import SPECTRAL_COLLAPSE_DIGITS
from neoteny.studies.what_predicts_plasticity import WHAT_PREDICTS_PLASTICITY

SIZED: dict[str, Callable[..., Study]] = {
    permuted_mnist.NAME: permuted_mnist.permuted_mnist,
    continual_imagenet.NAME: continual_imagenet.continual_imagenet,
    incremental_cifar.NAME: incremental_cifar.incremental_cifar,
    slippery_ant.NAME: slippery_ant.slippery_ant,
}
"""Studies that come in several sizes: `(scale, protocol) -> Study`."""

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        SPECTRAL_COLLAPSE_DIGITS,
        WHAT_PREDICTS_PLASTICITY,
        EARLY_WARNING,
        CONTINUAL_CARTPOLE,
        BORROWED_METHODS,
        *(sized() for sized in SIZED.values()),
    )
}
"""The studies that come with neoteny, by name; of those in `SIZED` the one for a desk."""

JUDGES = {
    WHAT_PREDICTS_PLASTICITY.name: what_predicts_plasticity.judge,
    EARLY_WARNING.name: early_warning.judge,
}
"""Studies with a claim of their own; of all others the claim is that of `plasticity`."""

COMPARED = {
    scales.named(study.NAME, scale, protocol): partial(published.judge, published=study.PUBLISHED)
    for study in (permuted_mnist, continual_imagenet, incremental_cifar)
    for scale in scales.SCALES
    for protocol in scales.PROTOCOLS
}
"""Studies that are compared with a published table besides."""


def judge(connection, study: str | None = None, *, besides: Collection[str] = ()) -> list[Verdict]:
    """Judge the runs behind `connection` (see `neoteny.store.connect`), study by study.

    With `study` all are judged by the claim of that one, whichever they were run for: so the runs
    of `what-predicts-plasticity` also answer `early-warning`. Those in `besides` are left out.

    **Raises:** `UserError` for a study that is not known.
    """
    every = connection.execute("SELECT DISTINCT study FROM tasks ORDER BY study").fetchall()
    rows = [(name,) for (name,) in every if name not in besides]
    known = STUDIES | dict.fromkeys(COMPARED)
    if study is not None and study not in known:
        raise unknown("study", study, known)
    compared = [
        verdict
        for (name,) in rows
        if (judge_one := COMPARED.get(study or name)) is not None
        for verdict in judge_one(connection, name)
    ]
    of_agents = _of_agents(connection)
    judges = {
        name: JUDGES.get(study or name) or (returns.judge if name in of_agents else None)
        for (name,) in rows
    }
    own = [
        verdict
        for name, judge_one in judges.items()
        if judge_one is not None
        for verdict in judge_one(connection, name)
    ]
    done = [name for name, judge_one in judges.items() if judge_one is not None]
    return [*plasticity.judge(connection, besides=(*done, *besides)), *compared, *own]


def _of_agents(connection) -> set[str]:
    """The studies whose runs are agents', judged by their returns."""
    found = connection.execute(
        "SELECT DISTINCT study FROM runs WHERE config ->> '$.setting.metric' LIKE '%_return'"
    ).fetchall()
    return {study for (study,) in found}


def advise(runs: Iterable[RunConfig]) -> list[str]:
    """What to change in runs that would measure too seldom for a verdict: a sentence a stream.

    A study made shorter keeps the cadences of the long one.
    """
    settings = {
        run.stream: run.setting
        for run in runs
        if run.study not in JUDGES and run.setting.agent is None
    }
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


def load(name: str, scale: str | None = None, protocol: str | None = None) -> Study:
    """A study by its name, or from a TOML file of the same fields.

    **Arguments:**

    - `scale`, `protocol`: for the studies in `SIZED`. `smoke` takes seconds, on the embedded
      digits; `desk`, the default, is sized for two cores; `paper` is the paper's own size.
      `corrected`, the default, trains on all rows once, in fresh order, with the methods as their
      papers define them; `published` has the settings and the flaws of the paper's code.

    **Raises:** `UserError` for an unknown name, scale or protocol, a study of one size, or a
    file that is missing, no TOML, or has a field that is unknown or impossible.
    """
    if scale is not None or protocol is not None:
        scales.check(scale or "desk", protocol or "corrected")
        if name not in SIZED:
            option = "scale" if scale is not None else "protocol"
            raise UserError(
                f"`{option}` is {scale or protocol}, but `{name}` comes in one size. Leave "
                f"`--{option}` out; it goes with {', '.join(SIZED)}."
            )
        return SIZED[name](scale or "desk", protocol or "corrected")
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
    except RecursionError:
        raise UserError(f"{path} is no study: its brackets are too deep.") from None
    except ValueError as error:  # no text, no TOML, or a number of too many digits
        raise UserError(f"{path} is not TOML: {error}.") from None
    return validated(Study, {"name": path.stem} | data)


__all__ = ["SIZED", "STUDIES", "Study", "Verdict", "advise", "judge", "late_gap", "load"]
