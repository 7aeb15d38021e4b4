"""A run's record, run.json: its configuration and provenance, and how far it has come."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neoteny.store.files import StoreError, damaged, refuse_locked, write_text
from neoteny.store.sql import KEY


def check(folder: Path | str, config: dict) -> None:
    """Refuse what `Run.open` would refuse for the sake of the configuration; touch nothing.

    **Raises:** `StoreError` if `folder` holds a run with another configuration, or one that
    another process is running.
    """
    folder, config = Path(folder).absolute(), configuration(config)
    if (folder / "run.json").exists():
        _refuse_another(folder, read_record(folder), config)
    refuse_locked(folder)


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


_RECORD = {"config": dict, "provenance": dict, "status": str, "tasks": int}


def read_record(folder: Path) -> dict:
    """The folder's record, with all that others read of it."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_bytes())
        wrong = [name for name, kind in _RECORD.items() if not isinstance(record[name], kind)]
        if wrong:
            raise StoreError(f"the type of {', '.join(wrong)} is wrong")
        _require_keys(record["config"], "its configuration")
        return {"reason": None, "seconds": None, "microseconds_per_step": None} | record
    except KeyError as error:
        raise StoreError(damaged(path, f"it lacks {error}")) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StoreError(damaged(path, str(error))) from error


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
