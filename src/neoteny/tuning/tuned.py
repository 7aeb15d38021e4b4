"""What a tuning found: each method's budget and best setting, and the study that they make."""

import json
import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import neoteny
from neoteny import store
from neoteny.config import Study, validated
from neoteny.methods import METHODS
from neoteny.tuning.plan import Key, Plan


def budgets(plan: Plan, trials: Mapping[Key, list[Any]], folder: Path) -> list[dict[str, Any]]:
    """What each method was given on each stream, and what it made of it: rows.

    `trials` that have ended, of which some were `pruned` or `diverged`; `tasks` that were learnt
    and the `seconds` that took, in all; the best `score`, and its `settings`. Settings and score
    are None where no trial came through.

    **Arguments:**

    - `trials`: Optuna's, by stream and method.
    - `folder`: of the tuning's runs.
    """
    spent = _spent(folder)
    found = []
    for key, all_of_it in trials.items():
        ended = [trial for trial in all_of_it if trial.state.is_finished()]
        best = winner(ended)
        tasks, seconds = spent.get(key, (0, 0.0))
        found.append(
            {
                "stream": key.stream,
                "method": key.method,
                "trials": len(ended),
                "pruned": sum("pruned" in trial.user_attrs for trial in ended),
                "diverged": sum("diverged" in trial.user_attrs for trial in ended),
                "tasks": tasks,
                "seconds": seconds,
                "score": None if best is None else best.value,
                "settings": "" if best is None else _shown(chosen(plan, key, best)),
            }
        )
    return found


def heading(plan: Plan, rows: list[dict[str, Any]]) -> list[str]:
    """What the file of the best settings says of how they were found."""
    seeds = ", ".join(map(str, plan.seeds))
    said = [
        f"The best of {plan.trials} settings of each method on each stream, tried on seeds {seeds} "
        f"({plan.sampler}, pruner {plan.pruner}). The scores are of these, and flattering."
    ]
    for row in rows:
        said.append(
            f"{row['stream']}, {row['method']}: {row['score']:.4g} ({row['pruned']} pruned, "
            f"{row['diverged']} diverged; {row['tasks']} tasks, {row['seconds']:.3g} s)"
        )
    return said


def _spent(folder: Path) -> dict[Key, tuple[int, float]]:
    """Tasks and seconds of all runs, by the stream and method they were for."""
    found: dict[Key, tuple[int, float]] = {}
    for row in store.status(folder) if store.find_runs(folder) else []:
        stream = row["stream"].removesuffix(f"--{row['method']}-{row['stream'].rpartition('-')[2]}")
        tasks, seconds = found.get(Key(stream, row["method"]), (0, 0.0))
        more = tasks + row["tasks_done"], seconds + (row["seconds"] or 0.0)
        found[Key(stream, row["method"])] = more
    return found


def winner(trials: list[Any]) -> Any:
    """The trial with the highest score, the first of several; None if none came through."""
    through = [
        trial for trial in trials if trial.state.name == "COMPLETE" and isfinite(trial.value)
    ]
    return max(through, key=lambda trial: (trial.value, -trial.number), default=None)


def chosen(plan: Plan, key: Key, trial: Any) -> dict[str, Any]:
    """The settings of a trial, by name."""
    from neoteny.tuning.search import suggest

    return suggest(_Drawn(trial.params), plan.space(key))


class _Drawn:
    """Gives what a trial was given."""

    def __init__(self, params: dict[str, Any]):
        self.params = params

    def suggest_float(self, name: str, *_: Any, **__: Any) -> Any:
        return self.params[name]

    suggest_int = suggest_categorical = suggest_float


def _shown(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def study(plan: Plan, best: Mapping[Key, Mapping[str, Any]]) -> Study:
    """The study with each method at its best setting, to be run on other seeds than these."""
    document = plan.study.model_dump()
    document["name"] = f"{plan.study.name}-tuned"
    document["tuned_on"] = sorted({*plan.study.tuned_on, *plan.seeds})
    for key, values in best.items():
        setting = document["streams"][key.stream]
        for name, value in values.items():
            owner, dot, field = name.partition(".")
            own = dot and owner in METHODS
            place = setting["hyperparameters" if own else "training_of"]
            place.setdefault(key.method, {})[field if own else name] = value
    return validated(Study, document)


def toml(found: Study, heading: list[str]) -> str:
    """A study as a file that `neoteny run` reads, without what is as it is by default."""
    plain = found.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    plain |= {"methods": list(found.methods), "seeds": found.seeds, "first_seed": found.first_seed}
    streams = plain.pop("streams")
    lines = [f"# {line}" for line in [*heading, f"neoteny {neoteny.__version__}"]]
    lines += [f"{name} = {_value(value)}" for name, value in plain.items()]
    for stream, setting in streams.items():
        lines += ["", f"[streams.{_key(stream)}]"]
        lines += [f"{_key(name)} = {_value(value)}" for name, value in setting.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(name)} = {_value(part)}" for name, part in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)
