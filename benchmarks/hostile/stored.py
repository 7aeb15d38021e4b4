"""What lies in folders of runs: records, tables, spectra, checkpoints; and pages about them."""

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from hostile import archives, mutations
from hostile.reader import Reader

ROW = {
    "online_accuracy": 0.5, "final_accuracy": 0.6, "heldout_accuracy": 0.4, "fresh_accuracy": 0.7,
    "chance_accuracy": 0.1, "effective_rank": 3.0, "effective_rank_1": 2.0, "dead_fraction_1": 0.5,
    "ggn_rank_start": 5.0, "ggn_max_start": 9.0, "hessian_rank_start": 4.0, "diverged_step": None,
}  # fmt: skip


def sound_run(root: Path, seed: int = 0, method: str = "bp") -> Path:
    """A run of three tasks as the store writes it, below `root`."""
    from neoteny import store, sweep
    from neoteny.studies import SPECTRAL_COLLAPSE_DIGITS

    config = next(run for run in sweep.expand(SPECTRAL_COLLAPSE_DIGITS) if run.method == method)
    config = config.model_copy(update={"seed": seed, "tasks": 3})
    folder = sweep.folder_of(root, config)
    with store.Run.open(folder, config.model_dump(mode="json"), {"device": "cpu"}) as run:
        for task in range(3):
            nodes = np.linspace(-1, 1, 8).reshape(2, 4)
            weights = np.full((2, 4), 0.25)
            run.save_spectrum(task, "start", "ggn", nodes=nodes, weights=weights, size=9)
            run.append(ROW | {"final_accuracy": 0.6 - task / 10})
        run.commit(_arrays(), seconds=1.0, microseconds_per_step=2.0)
        run.finish("finished")
    return folder


def _learner() -> Any:
    import jax.numpy as jnp

    from neoteny.types import Learner

    params = [{"kernel": jnp.ones((3, 4)), "bias": jnp.zeros(4)}]
    return Learner(params, (jnp.zeros((), int), params), (), (jnp.arange(3),))


def _arrays() -> dict[str, np.ndarray]:
    from neoteny import checkpoints

    return checkpoints.flat(_learner(), None)


class _Sound(NamedTuple):
    run: Path
    files: list[bytes]
    record: dict
    canary: str


def _sound(kind: str):
    def prepare(folder: Path) -> _Sound:
        runs = [sound_run(folder, seed, method) for seed in (0, 1) for method in ("bp", "l2_er")]
        files = [path.read_bytes() for run in runs for path in sorted(run.glob(kind))]
        record = json.loads((runs[0] / "run.json").read_text())
        return _Sound(runs[0], files, record, str(folder.parent / "canary"))

    return prepare


def _within(sound: _Sound, folder: Path, **changed: bytes) -> Path:
    """The sound run in `folder`, but for some of its files."""
    place = folder / "a" / "seed-0"
    (place / "spectra").mkdir(parents=True)
    for path in sound.run.rglob("*"):
        if path.is_file() and path.name not in changed:
            os.link(path, place / path.relative_to(sound.run))
    for name, content in changed.items():
        (place / name).write_bytes(content)
    return place


# ---- run.json and study.json


def _record(random: Random, sound: _Sound) -> bytes:
    if random.random() < 0.4:
        return mutations.spoilt(random, random.choice(sound.files), sound.files)
    return mutations.as_json(mutations.document(random, sound.record))


def _read_record(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import progress, store, tables

    place = folder / "a" / "seed-0"
    place.mkdir(parents=True)
    (place / "run.json").write_bytes(content)
    rows = progress.telling(store.status(folder))
    progress.together(store.status(folder))
    for row in rows:
        "".join(map(tables.text, row.values())).encode()
    if sum(content[-9:]) % 16 == 0:  # a database takes a while to be made
        store.query(folder, "SELECT * FROM runs")
    else:
        store.check(place, sound.record["config"])


def _study(random: Random, sound: _Sound) -> bytes:
    whole = {
        "study": {"name": "x", "title": "y", "methods": ["bp"], "streams": {}},
        "command": ["run", "x", "--seeds", "3"],
        "grid": {"a--lr-1": {"stream": "a", "values": {"lr": "1"}}},
    }
    if random.random() < 0.4:
        return mutations.spoilt(random, mutations.as_json(whole), sound.files)
    return mutations.as_json(mutations.document(random, whole))


def _recall(content: bytes, sound: _Sound, folder: Path) -> None:
    from html import escape

    from neoteny import api

    (folder / "study.json").write_bytes(content)
    escape(api._title(folder)).encode()
    escape(api._reproduce(folder)).encode()
    if sum(content[-9:]) % 64 == 0:
        _within(sound, folder)
        api.Results(folder).settings()
    else:
        api._points(folder)


# ---- tables and arrays


def _table(random: Random, sound: _Sound) -> bytes:
    return mutations.spoilt(random, random.choice(sound.files), sound.files)


def _read_table(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import store
    from neoteny.store.table import Table

    place = _within(sound, folder, **{"tasks.parquet": content})
    if sum(content[-9:]) % 2:
        store.query(folder, "SELECT * FROM tasks")
    else:
        Table(place / "tasks.parquet", 3).close()


def _members(content: bytes) -> dict[str, bytes]:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def arrays(random: Random, sound: list[bytes], canary: str) -> bytes:
    """An .npz file with something amiss: its bytes, its headers, its names or its directory."""
    content = random.choice(sound)
    choice = random.random()
    if choice < 0.3:
        return mutations.spoilt(random, content, sound)
    members = _members(content)
    name = random.choice([*members])
    if choice < 0.7:
        members[name] = archives.npy(random, members[name], canary)
    elif choice < 0.8:
        members[name] = members[random.choice([*members])]
    elif choice < 0.85:
        del members[name]
    elif choice < 0.9:
        members[random.choice(archives.NAMES) or "y"] = archives.pickled(canary)
    return archives.zipped(random, members)


def _spoilt_arrays(random: Random, sound: _Sound) -> bytes:
    return arrays(random, sound.files, sound.canary)


def _read_spectrum(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny.store import loading

    (folder / "spectra").mkdir()
    (folder / "spectra" / "task-00000-start-ggn.npz").write_bytes(content)
    list(loading.spectra_of(folder))


def _read_checkpoint(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import checkpoints, store

    path = folder / "checkpoint.npz"
    path.write_bytes(content)
    _, found = store.read_checkpoint(path)
    checkpoints.diverged(found)
    checkpoints.restored(_learner(), found)


def _lock(random: Random, sound: _Sound) -> bytes:
    return mutations.spoilt(random, b"12345", [b"99", bytes(range(256))])


def _read_lock(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny.store import files

    (folder / ".lock").write_bytes(content)
    handle = files.lock(folder)
    os.pwrite(handle, content, 0)
    try:
        files.time = _Hurried  # whoever waits for it gives up at once
        files.refuse_locked(folder)
    finally:
        os.close(handle)


class _Hurried:
    sleep = staticmethod(lambda seconds: None)


# ---- what is shown of it


def _shown(random: Random, sound: _Sound) -> bytes:
    columns = {}
    for _ in range(random.choice((0, 1, 3))):
        name = random.choice(_COLUMNS if random.random() < 0.8 else mutations.TEXTS)
        columns[name[:99]] = random.choice(_VALUES)
    record = mutations.document(random, sound.record if random.random() < 0.5 else {})
    config = record.get("config") if isinstance(record, dict) else None
    if not config:
        record = json.loads(json.dumps(sound.record))
        config = record["config"]
    if random.random() < 0.3 and isinstance(config, dict):
        config["setting"] = {"metric": random.choice(_METRICS).format(f=sound.run.parent)}
    whole = {"record": mutations.as_json(record).decode("latin1"), "columns": columns}
    whole["what"] = random.choice(
        ("judge", "judge", "leaderboard", "report", "latex", "csv", "parquet")
    )
    return json.dumps(whole).encode()


_COLUMNS = (
    "final_accuracy", "online_accuracy", "chance_accuracy", "ggn_rank_start", "effective_rank_1",
)  # fmt: skip

_VALUES = (
    "'<script>alert(1)</script>'", "1e308", "'nan'::DOUBLE", "-1", "NULL", "true", "[1]", "now()",
    "'inf'::DOUBLE",
)  # fmt: skip

_METRICS = (
    "1 FROM tasks; COPY (SELECT 1) TO '{f}/escaped'; SELECT 1, 1", '"', "x", "final_accuracy",
    "(SELECT content FROM read_text('/etc/hostname'))", "*", "<script>alert(1)</script>", "study",
    "online_return", "",
)  # fmt: skip


def _show(content: bytes, sound: _Sound, folder: Path) -> None:
    import duckdb

    from neoteny import api
    from neoteny.export import export

    whole = json.loads(content)
    place = _within(sound, folder, **{"run.json": whole["record"].encode("latin1")})
    if whole["columns"]:
        chosen = ", ".join(
            f'{text} AS "{name.replace(chr(34), chr(34) * 2)}"'
            for name, text in whole["columns"].items()
        )
        kept = ", ".join(f'"{name}"' for name in ("study", "stream", "method", "seed", "task"))
        (place / "tasks.parquet").unlink()
        source = f"(SELECT {kept}, {chosen} FROM '{sound.run}/tasks.parquet')"
        try:
            duckdb.execute(f"COPY {source} TO '{place}/tasks.parquet'")
        except (duckdb.Error, UnicodeError, RuntimeError):  # no such table can be made
            return
    results, what = api.Results(folder), whole["what"]
    if what == "judge":
        results.verdict()
    elif what == "leaderboard":
        results.leaderboard()
    elif what == "report":
        results.report()
    else:
        export(
            folder, folder / "out", table=("tasks", "methods", "runs")[len(content) % 3], form=what
        )
    for page in folder.glob("*.html"):
        assert "<script>alert" not in page.read_text(), "the page runs what was stored"
    shutil.rmtree(folder / "a")


def _pages(folder: Path) -> _Sound:
    import plotly.offline

    plotly.offline.get_plotlyjs = lambda: ""  # five million letters, always the same
    return _sound("run.json")(folder)


READERS = {
    "run.json": Reader(_sound("run.json"), _record, _read_record, 12),
    "study.json": Reader(_sound("run.json"), _study, _recall, 4),
    "tasks.parquet": Reader(_sound("tasks.parquet"), _table, _read_table, 2.5),
    "spectra": Reader(_sound("spectra/*"), _spoilt_arrays, _read_spectrum, 12),
    "checkpoint": Reader(_sound("checkpoint.npz"), _spoilt_arrays, _read_checkpoint, 10),
    "lock": Reader(_sound("run.json"), _lock, _read_lock, 1),
    "pages": Reader(_pages, _shown, _show, 0.5),
}
