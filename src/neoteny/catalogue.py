"""What there is to choose from, and whether this machine can run it."""

import inspect
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from neoteny import cache, sweep
from neoteny.errors import UserError

Row = dict[str, Any]


def members(kind: str | None = None) -> list[Row]:
    """Every member of one noun, or of all: its name and its first sentence."""
    makers = {
        "streams": _streams,
        "datasets": _datasets,
        "environments": _environments,
        "networks": _networks,
        "methods": _methods,
        "probes": _probes,
        "studies": _studies,
        "claims": _claims,
    }
    if kind is not None:
        return makers[kind]()
    return [
        {"kind": noun, "name": row["name"], "what": row["what"]}
        for noun, rows in makers.items()
        for row in rows()
    ]


def health(data: Path | None) -> list[Row]:
    """One row for each thing a run needs: `ok`, `absent` (works without) or `broken`."""
    return [
        *_versions(),
        *_machine(),
        *_data(data),
        _writable("this folder", Path.cwd()),
        _writable("cache", cache.folder()),
    ]


def _streams() -> list[Row]:
    from neoteny import rl, streams

    of_data = [
        {"name": name, "what": _first(rule), "options": _shown(streams.option_defaults(name))}
        for name, rule in streams.STREAMS.items()
    ]
    of_agents = [
        {"name": name, "what": _first(rule), "options": _shown(rl.world_defaults(name))}
        for name, rule in rl.WORLDS.items()
    ]
    return [*of_data, *(row | {"what": f"For agents. {row['what']}"} for row in of_agents)]


def _claims() -> list[Row]:
    from neoteny import claims

    return [
        {"name": name, "what": claim.title, "source": claim.source}
        for name, claim in claims.CLAIMS.items()
    ]


def _datasets() -> list[Row]:
    from neoteny import streams

    return [{"name": name, "what": _first(loader)} for name, loader in streams.DATASETS.items()]


def _environments() -> list[Row]:
    from neoteny import rl

    makers = {
        **rl.ENVIRONMENTS,
        **rl.HOST_ENVIRONMENTS,
        f"{rl.PREFIX}ID": rl.gymnasium_environment,
    }
    return [{"name": name, "what": _first(make)} for name, make in makers.items()]


def _networks() -> list[Row]:
    from neoteny import networks

    return [
        {"name": name, "what": _first(make), "options": _shown(networks.option_defaults(name))}
        for name, make in networks.NETWORKS.items()
    ]


def _methods() -> list[Row]:
    from neoteny import methods

    def row(name: str, recipe: Any) -> Row:
        defaults = methods.hyperparameter_defaults(name)
        try:
            boundary = methods.needs_boundary(name)
        except Exception as error:  # someone's own recipe that does not build
            raise UserError(
                f"The method `{name}` cannot be made from its defaults: {type(error).__name__}: "
                f"{error}. Give every hyperparameter a default that works."
            ) from error
        return {
            "name": name,
            "what": _first(recipe),
            "hyperparameters": _shown(defaults),
            "tuned": _shown(
                {
                    field: f"{low:g}:{high:g}{':log' * log}"
                    for field, (low, high, log) in methods.search_ranges(name).items()
                }
            ),
            "needs_boundary": boundary,
        }

    return [row(name, recipe) for name, recipe in methods.METHODS.items()]


def _shown(defaults: dict[str, Any]) -> str:
    """Options with their values, as they are typed."""
    typed = lambda value: str(list(value)) if isinstance(value, tuple) else str(value)
    return ", ".join(f"{name}={typed(value)}" for name, value in defaults.items())


def _probes() -> list[Row]:
    from neoteny import glossary, probes

    def what(name: str) -> str:
        known = glossary.GROUPS.get(name)
        return known.what if known else _first(probes.PROBES[name])

    return [
        {"name": name, "what": what(name), "columns": ", ".join(_fields(probe))}
        for name, probe in probes.PROBES.items()
    ]


def _fields(probe: Any) -> tuple[str, ...]:
    """The columns of a probe, if it says what it returns; `docs/probes.md` explains ours."""
    returned = inspect.signature(probe, eval_str=True).return_annotation
    return getattr(returned, "_fields", ())


def _studies() -> list[Row]:
    from neoteny.studies import STUDIES

    return [
        {
            "name": name,
            "what": study.title,
            "streams": ", ".join(study.streams),
            "methods": ", ".join(study.methods),
            "seeds": study.seeds,
        }
        for name, study in STUDIES.items()
    ]


def _first(member: Any) -> str:
    """The first sentence of a docstring."""
    text = inspect.getdoc(getattr(member, "func", member)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _versions() -> list[Row]:
    rows = [_row("python", "ok", platform.python_version())]
    for name in ("neoteny", "jax", "jaxlib", "optax", "numpy", "scikit-learn", "duckdb", "plotly"):
        try:
            rows.append(_row(name, "ok", version(name)))
        except PackageNotFoundError:
            rows.append(_row(name, "broken", "not installed: pip install neoteny"))
    return rows


def _machine() -> list[Row]:
    import jax

    kinds = [(device.platform, device.device_kind) for device in jax.devices()]
    devices = ", ".join(kind if kind == name else f"{name} {kind}" for name, kind in kinds)
    answer = float(jax.jit(lambda x: x @ x)(jax.numpy.full((2, 2), 3.0))[0, 0])
    state = "ok" if answer == 18 else "broken"
    return [
        _row("cores", "ok", str(sweep.cores())),
        _row("devices", "ok", devices),
        _row(
            "compiler", state, "a compiled product is right" if state == "ok" else "wrong product"
        ),
    ]


def _data(folder: Path | None) -> list[Row]:
    from neoteny import streams

    rows = []
    for name in streams.DATASETS:
        try:
            rows.append(_row(f"data: {name}", "ok", streams.locate(name, folder=folder)))
        except UserError as error:
            rows.append(_row(f"data: {name}", "absent", str(error)))
    return rows


def _writable(name: str, folder: Path) -> Row:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return _row(f"writable: {name}", "ok", str(folder))
    except OSError as error:
        return _row(f"writable: {name}", "broken", f"{folder}: {error.strerror}")


def _row(check: str, state: str, detail: object) -> Row:
    return {"check": check, "state": state, "detail": str(detail)}
