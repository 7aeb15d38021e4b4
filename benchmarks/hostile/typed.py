"""What a person types or writes: studies, options, SQL, plugins."""

import json
import re
import tomllib
import zlib
from pathlib import Path
from random import Random
from typing import Any

from hostile import mutations
from hostile.reader import Reader

EXAMPLES = Path(__file__).parents[2] / "examples"


def _studies(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(EXAMPLES.glob("*.toml"))]


def _study(random: Random, sound: list[bytes]) -> bytes:
    one = random.choice(sound)
    if random.random() < 0.4:
        return mutations.spoilt(random, one, sound)
    if random.random() < 0.3:  # a line that is another's
        lines = one.split(b"\n")
        place = random.randrange(len(lines))
        name = lines[place].split(b"=")[0] if random.random() < 0.7 else b"x" * 9000
        lines[place] = name + b"= " + mutations.as_json(mutations.value(random))
        return b"\n".join(lines)
    return mutations.as_toml(mutations.document(random, tomllib.loads(one.decode())))


def _plan(content: bytes, sound: Any, folder: Path) -> None:
    from neoteny import api

    path = folder / "study.toml"
    path.write_bytes(content)
    api.runs_of(api.plan(str(path)), None)


# ---- options


_KEYS = (
    "tasks", "seeds", "first_seed", "methods", "name", "streams", "training", "training.batch",
    "streams.digits.tasks", "network.widths", "stream.options.x", "hyperparameters.l2.weight_decay",
    "training_of.bp.batch", "probes.names", "agent", "agent.kind", "metric", "lr", "bp.x",
    "l2.weight_decay", "network.options.channels", "..", "", ".", "tasks.x", "nosuch",
)  # fmt: skip


def _words(random: Random) -> str:
    part = lambda: random.choice(
        (
            random.choice(mutations.TEXTS),
            mutations.as_json(mutations.value(random)).decode("utf-8", "replace"),
            str(random.choice(mutations.NUMBERS)),
            random.choice(("0.1", "1e-3", "5", "true", "'x'", "[8, 8]", "{a = 1}", "0/4", "bp,l2")),
        )
    )
    return random.choice((",", "/", "=", "")).join(
        part() for _ in range(random.choice((1, 1, 2, 5)))
    )


def _option(random: Random, sound: Any) -> bytes:
    asked = {"what": random.choice(("set", "grid", "part", "methods", "size", "seeds"))}
    asked["words"] = [
        f"{random.choice(_KEYS)}={_words(random)}" for _ in range(random.choice((1, 1, 2, 7)))
    ]
    asked["text"] = _words(random)
    return json.dumps(asked).encode()


def _options(content: bytes, sound: Any, folder: Path) -> None:
    from neoteny import api, planning
    from neoteny.cli import common
    from neoteny.cli import run as command

    asked = json.loads(content)
    what, study = asked["what"], "spectral-collapse-digits"
    if what == "size":
        planning.rows(asked["text"], 10)
        return
    changes = common.assignments(asked["words"]) if what == "set" else {}
    axes = command._axes(asked["words"]) if what == "grid" else None
    part = command._part(asked["text"]) if what == "part" else (0, 1)
    number = re.sub(r"\D", "", asked["text"])[:12] if what == "seeds" else ""
    chosen = {"methods": asked["text"]} if what == "methods" else {}
    seeds = int(number) if number else None
    api.runs_of(api.plan(study, changes=changes, seeds=seeds, **chosen), axes, part)


# ---- SQL

_TRIES = r"""
SELECT * FROM tasks
SELECT avg(final_accuracy) FROM tasks GROUP BY method
FROM runs
COPY tasks TO '{f}/escaped.csv'
COPY (SELECT 1) TO '{f}/escaped' (FORMAT parquet)
SELECT * FROM read_text('{s}')
SELECT * FROM '{s}'
SELECT * FROM read_csv('{s}')
SELECT * FROM read_blob('{s}')
COPY tasks FROM '{s}'
IMPORT DATABASE '{f}'
FROM glob('/*')
ATTACH '{f}/escaped.db' AS a
EXPORT DATABASE '{f}/escaped'
INSTALL httpfs
LOAD '{s}'
SET enable_external_access = true
RESET enable_external_access
SET lock_configuration = false
SET allowed_paths = ['{s}']
SET allowed_directories = ['/']
SET temp_directory = '{f}'
PRAGMA database_list
PRAGMA enable_profiling
SET profiling_output = '{f}/escaped'
SET secret_directory = '{f}'
SET home_directory = '{f}'
SET extension_directory = '{f}'
CREATE TABLE x AS FROM tasks
CREATE MACRO f(x) AS x
DROP TABLE runs
SELECT getenv('HOME')
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 99) FROM t
SELECT repeat('x', 10)
SELECT 1 / 0
SELECT CAST('x' AS INT)
SELECT NULL
VALUES (1), (2)
SELECT [1, 2], {{'a': 1}}, MAP {{1: 2}}, INTERVAL 1 DAY, '\x00'::BLOB, now(), uuid()
CHECKPOINT
BEGIN
COMMIT
EXPLAIN SELECT 1
EXPLAIN ANALYZE FROM tasks
SELECT 1; SELECT 2
DESCRIBE tasks
PREPARE p AS SELECT ?
EXECUTE p(1)
SELECT ?
SELECT $a
CALL pragma_version()
SUMMARIZE tasks
SELECT * FROM sniff_csv('{s}')
SELECT * FROM parquet_metadata('{s}')
FROM duckdb_settings()
SELECT * FROM query('FROM tasks')
SELECT * FROM query_table('tasks')
FROM duckdb_secrets()
CREATE SECRET (TYPE s3)
CALL enable_logging()
FROM st_read('{s}')
USE memory
SHOW ALL TABLES
SELECT write_log('x')
FROM test_all_types()
SELECT 170141183460469231731687303715884105727 * 2
SELECT '2020-01-01'::DATE + 10000000000000
SELECT 'infinity'::DATE
SELECT '5000000-01-01'::TIMESTAMP
SELECT 'x' COLLATE nosuch
PIVOT tasks ON method USING avg(final_accuracy)
SELECT * EXCLUDE (x) FROM tasks
""".strip().splitlines()


def _folder_of_runs(folder: Path) -> Path:
    from hostile.stored import sound_run

    secret = folder.parent / "secret"
    secret.write_text("SECRET-8d1f")
    sound_run(folder / "runs")
    return folder


def _sql(random: Random, sound: Path) -> bytes:
    text = random.choice(_TRIES).format(s=sound.parent / "secret", f=sound)
    if random.random() < 0.3:
        text += random.choice((";", " UNION ALL ", " -- ", "; ")) + random.choice(_TRIES)
    data = text.encode()
    if random.random() < 0.5:
        data = mutations.spoilt(random, data, [one.encode() for one in _TRIES])
    return data[:20_000]


def _query(content: bytes, sound: Path, folder: Path) -> None:
    from neoteny import store, tables

    found = store.query(sound / "runs", content.decode("utf-8", "surrogateescape"))
    assert "SECRET-8d1f" not in repr(found.rows), "it read a file"
    for row in found.rows[:5]:
        tables.text(row)


# ---- plugins


def _plugin(random: Random, sound: Any) -> bytes:
    if random.random() < 0.5:
        name = random.choice((*mutations.TEXTS, "a.py", "/dev/null", "/", ".", "x" * 300 + ".py"))
        return b"path:" + name.encode("utf-8", "surrogatepass")
    text = random.choice(
        (
            "1 +", "x = " + "9" * 5000, "def f(:", "\tx\n  y", "raise SystemExit(0)", "pass",
            "raise ValueError('a\\nb')", "import nosuch", "x = '\\ud800'; raise ValueError(x)",
            "\0", "# coding: nosuch",
            "def f(): f()\nf()", "assert False", "raise KeyError",
        )
    )  # fmt: skip
    return b"text:" + mutations.spoilt(random, text.encode(), [text.encode()])


def _load(content: bytes, sound: Any, folder: Path) -> None:
    from neoteny import plugins

    kind, _, rest = content.partition(b":")
    path = folder / f"own{zlib.crc32(rest)}.py"
    if kind == b"text":
        path.write_bytes(rest)
    plugins.load(path if kind == b"text" else Path(rest.decode("utf-8", "surrogatepass")))


nothing = lambda folder: None

READERS = {
    "study.toml": Reader(_studies, _study, _plan, 12),
    "options": Reader(nothing, _option, _options, 12),
    "query": Reader(_folder_of_runs, _sql, _query, 2.5),
    "plugin": Reader(nothing, _plugin, _load, 2),
}
