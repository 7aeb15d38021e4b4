"""A run's record, run.json: its configuration and provenance, and how far it has come."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neoteny.store.files import StoreError, damaged, refuse_locked, write_text
from neoteny.store.sql import KEY

FINAL = ("finished", "diverged", "pruned")
"""How a run ends that is never taken up again."""


def check(folder: Path | str, config: dict) -> None:
    """Refuse what `Run.open` would refuse for the sake of the configuration; touch nothing.

    **Raises:** `StoreError` if `folder` holds a run with another configuration, or one that
    another process is running.
    """
    folder, config = Path(folder).absolute(), configuration(config)
    if (folder / "run.json").exists():
        _refuse_another(folder, read_record(folder), config)
    refuse_locked(folder)


def ended(folder: Path | str, config: dict) -> str | None:
    """How the run in `folder` ended, one of `FINAL`; `None` if there is more to do.

    **Raises:** `StoreError` if `folder` holds a run with another configuration.
    """
    folder = Path(folder).absolute()
    if not (folder / "run.json").exists():
        return None
    record = read_record(folder)
    _refuse_another(folder, record, configuration(config))
    whole = not record["tasks"] or (folder / "tasks.parquet").exists()
    return record["status"] if record["status"] in FINAL and whole else None


def configuration(config: dict) -> dict:
    """`config` as its record gives it back; it must say which run it is, and of how many tasks."""
    config = plain("config", config)
    _require_keys(config, "config")
    return config


def plain(name: str, data: dict) -> dict:
    """`data` as JSON gives it back, so that what is compared is what is stored."""
    try:
        return json.loads(json.dumps(data, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise StoreError(f"`{name}` must be plain JSON data, but {error}.") from error


def begin(folder: Path, config: dict, provenance: dict) -> dict:
    """The folder's record, or a new one if the folder is new; not yet written."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    provenance = {"created": created} | provenance
    if not (folder / "run.json").exists():
        for name in ("tasks.parquet", "checkpoint.npz"):
            if (folder / name).exists():
                raise StoreError(damaged(folder / "run.json", f"gone, but `{name}` is there"))
        return {
            "config": config,
            "provenance": provenance,
            "status": "running",
            "reason": None,
            "tasks": 0,
            "seconds": 0.0,
            "microseconds_per_step": None,
        }
    record = read_record(folder)
    _refuse_another(folder, record, config)
    first = record["provenance"]
    unlike = [{**other, "created": None, "resumed": None} for other in (first, provenance)]
    if provenance.keys() > {"created"} and unlike[0] != unlike[1]:
        first.setdefault("resumed", []).append(provenance)
    return record


def write_record(folder: Path, record: dict) -> None:
    """Replace the folder's record; durable when this returns, with all names in the folder."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "run.json", text + "\n")


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) < 1e18)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or _text(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text_or_none, value))


_ABOUT = {"reason": None, "seconds": None, "microseconds_per_step": None}
"""What the first records did not say."""

_RECORD = {
    "config": lambda value: isinstance(value, dict),
    "provenance": lambda value: isinstance(value, dict),
    "status": _text,
    "tasks": _count,
    "reason": _text_or_none,
    "seconds": _number,
    "microseconds_per_step": _number,
    "failures": _texts,
}
_CONFIG = {
    "study": _text,
    "stream": _text,
    "method": _text,
    "seed": _count,
    "tasks": lambda value: _count(value) and value < 2**31,
}
_DEEPEST = 100
"""Lists and tables in one another; a configuration has about five."""


def read_record(folder: Path) -> dict:
    """The folder's record, with all that others read of it, and of the types they read."""
    path = folder / "run.json"
    try:
        content = path.read_bytes()
        record = json.loads(content)
        if not isinstance(record, dict):
            raise StoreError("it is no table")
        if max(content.count(b"["), content.count(b"{")) > _DEEPEST:
            _require_shallow(record)
        record: dict[str, Any] = {**_ABOUT, "failures": [], **record}
        _require_types(record, _RECORD)
        _require_keys(record["config"], "its configuration")
        _require_types(record["config"], _CONFIG)
        return record
    except KeyError as error:
        raise StoreError(damaged(path, f"it lacks {error}")) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StoreError(damaged(path, str(error))) from error


def _require_shallow(found: Any) -> None:
    level = [found]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise StoreError("its brackets are too deep")


def _require_types(found: dict, wanted: Mapping[str, Callable[[Any], bool]]) -> None:
    if wrong := [name for name, fits in wanted.items() if not fits(found[name])]:
        raise StoreError(f"the type of {', '.join(wrong)} is wrong")


def _require_keys(config: dict, what: str) -> None:
    missing = [name for name in (*KEY, "tasks") if name not in config]
    if missing:
        raise StoreError(f"{what} lacks {', '.join(missing)}, which every run has.")


def _refuse_another(folder: Path, record: dict, config: dict) -> None:
    if differences := list(_differences(record["config"], config)):
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise StoreError(
            f"`{folder}` holds a run with another configuration: {'; '.join(differences[:3])}"
            f"{more}. Pass another --out, or remove that folder to run this configuration there."
        )


_ABSENT = object()


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{name}.{key}" if name else key
            yield from _differences(there.get(key, _ABSENT), here.get(key, _ABSENT), inner)
    elif (type(there), there) != (type(here), here):
        yield f"`{name}` is {_show(there)} there and {_show(here)} here"


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)
