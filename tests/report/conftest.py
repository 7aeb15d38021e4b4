"""A store's tables, filled with a made-up study in which `bp` loses its curvature."""

import json

import duckdb
import numpy as np
import pytest

METHODS = {"bp": 1.0, "l2_er": 0.0, "l2": 0.55, "cbp": 0.3}
STREAMS = {"permuted_digits": "online_accuracy", "random_labels": "final_accuracy"}
CADENCE = 5

TASKS = """CREATE TABLE tasks (study VARCHAR, stream VARCHAR, method VARCHAR, seed BIGINT,
    task BIGINT, online_accuracy DOUBLE, final_accuracy DOUBLE, heldout_accuracy DOUBLE,
    fresh_accuracy DOUBLE, fresh_online_accuracy DOUBLE, diverged_step BIGINT,
    effective_rank DOUBLE, effective_rank_1 DOUBLE, effective_rank_2 DOUBLE,
    stable_rank DOUBLE, dead DOUBLE, dead_1 DOUBLE, dead_2 DOUBLE, dormant DOUBLE,
    weight_norm DOUBLE, gradient_norm DOUBLE, displacement DOUBLE, hessian_rank_start DOUBLE,
    hessian_rank_start_se DOUBLE, hessian_rank_end DOUBLE, hessian_budget_rank_start DOUBLE,
    hessian_effective_rank_start DOUBLE, hessian_max_start DOUBLE, hessian_min_start DOUBLE,
    ggn_rank_start DOUBLE, ggn_rank_start_se DOUBLE, ggn_rank_end DOUBLE,
    ggn_budget_rank_start DOUBLE, ggn_effective_rank_start DOUBLE, ggn_max_start DOUBLE,
    ggn_trace_start DOUBLE)"""
RUNS = """CREATE TABLE runs (study VARCHAR, stream VARCHAR, method VARCHAR, seed BIGINT,
    status VARCHAR, reason VARCHAR, tasks BIGINT, seconds DOUBLE, microseconds_per_step DOUBLE,
    folder VARCHAR, config VARCHAR, provenance VARCHAR)"""
SPECTRA = """CREATE TABLE spectra (study VARCHAR, stream VARCHAR, method VARCHAR, seed BIGINT,
    task BIGINT, phase VARCHAR, matrix VARCHAR, probe BIGINT, node DOUBLE, weight DOUBLE,
    size BIGINT)"""


@pytest.fixture
def tables():
    """The three tables, empty."""
    with empty() as connection:
        yield connection


@pytest.fixture(scope="module")
def shared_study():
    """As `study`, made once for all tests of a file."""
    with empty() as connection:
        fill(connection, STREAMS)
        yield connection


def empty():
    """A connection with the three tables."""
    connection = duckdb.connect(config={"threads": 1})
    for statement in (TASKS, RUNS, SPECTRA):
        connection.execute(statement)
    return connection


@pytest.fixture
def insert(tables):
    """`insert(table, **columns)`: one row; columns not named are NULL."""

    def add(table, **columns):
        names = ", ".join(columns)
        marks = ", ".join("?" for _ in columns)
        tables.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*columns.values()])

    return add


@pytest.fixture
def study(tables):
    """The tables of a small whole study: two streams, four methods, three seeds each."""
    fill(tables, STREAMS)
    return tables


def fill(connection, streams, methods=METHODS, seeds=3, tasks=40):
    """Insert runs in which the share `methods[name]` of plasticity fades along the stream."""
    rng = np.random.default_rng(0)
    for stream, metric in streams.items():
        for name, loss in methods.items():
            for seed in range(seeds):
                diverged = name == "l2" and seed == seeds - 1 and stream == "random_labels"
                done = tasks // 2 if diverged else tasks
                rows = [_task(rng, stream, name, loss, seed, t, tasks) for t in range(done)]
                if diverged:
                    rows[-1][5:11] = [float("nan"), float("nan"), None, None, None, 137]
                spectra = _spectra(rng, stream, name, loss, seed, done, tasks)
                _append(connection, "tasks", rows)
                _append(connection, "spectra", spectra)
                _append(connection, "runs", [[
                    "collapse", stream, name, seed, "diverged" if diverged else "finished",
                    "the loss became NaN" if diverged else None, done, 80.0 + seed,
                    210.0 * (1 + 0.4 * ("er" in name)), f"runs/{name}-{seed}",
                    json.dumps(_configuration(stream, name, seed, tasks, metric)),
                    json.dumps({"neoteny": "0.1.0", "jax": "0.10.2", "device": {"kind": "cpu"}}),
                ]])  # fmt: skip


def _append(connection, table, rows):
    """Whole columns at once: DuckDB takes a second for a thousand single rows."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    marks = ", ".join("unnest(?)" for _ in columns)
    connection.execute(f"INSERT INTO {table} SELECT {marks}", columns)


def _task(rng, stream, name, loss, seed, task, tasks):
    age = loss * task / tasks
    reached = 0.93 - 0.25 * age + 0.012 * rng.standard_normal()
    measured = task % CADENCE == 0
    fresh = 0.935 + 0.004 * np.sin(task + seed)
    fresh += 0.01 * loss * (stream == "random_labels")  # there, each method has its own
    rank = 900 * np.exp(-3.5 * age + 0.08 * rng.standard_normal()) if measured else None
    feature = 62 * np.exp(-1.2 * age + 0.03 * rng.standard_normal())
    dead = 0.45 * age + 0.02 * rng.random()
    return [
        "collapse", stream, name, seed, task, reached, reached + 0.03, None,
        fresh + 0.03 if measured else None, fresh if measured else None, None,
        feature, 1.2 * feature, 0.8 * feature, feature / 6, dead, 0.6 * dead, 1.4 * dead,
        dead + 0.05, 11 + 12 * age + 0.1 * rng.standard_normal(), 0.4 * np.exp(-age), 2.1 + age,
        rank, rank and 0.04 * rank, rank and 0.8 * rank, rank and 0.6 * rank, rank and 0.1 * rank,
        rank and rank / 20, rank and -rank / 300, *_ggn(rank),
    ]  # fmt: skip


def _ggn(rank):
    """Rank, its error, that at the end, beyond the budget; effective rank, largest, trace."""
    shares = (0.3, 0.01, 0.25, 0.2, 0.05, 0.05, 0.4)
    return [None if rank is None else share * rank for share in shares]


def _spectra(rng, stream, name, loss, seed, done, tasks):
    size, rows = 26_000, []
    for task in range(0, done, 2 * CADENCE):
        scale = 40 * np.exp(-4.0 * loss * task / tasks)
        for phase in ("start", "end"):
            for probe in range(2):
                nodes = scale * np.concatenate([
                    np.geomspace(1e-8, 1, 20) * np.exp(0.2 * rng.standard_normal(20)),
                    -np.geomspace(1e-7, 0.02, 8),
                ])  # fmt: skip
                weights = 1 / np.sqrt(np.abs(nodes) + 1e-6 * scale)
                weights = weights**1.6 / np.sum(weights**1.6)
                for matrix, values in (("hessian", nodes), ("ggn", np.maximum(nodes, 0.0))):
                    which = ("collapse", stream, name, seed, task, phase, matrix, probe)
                    rows += [
                        (*which, x, w, size)
                        for x, w in zip(values.tolist(), weights.tolist(), strict=True)
                    ]
    return rows


def _configuration(stream, name, seed, tasks, metric):
    return {
        "study": "collapse", "stream": stream, "method": name, "seed": seed, "tasks": tasks,
        "hyperparameters": {"weight_decay": 1e-4} if "l2" in name else {},
        "setting": {
            "metric": metric,
            "training": {"learning_rate": 0.01, "batch": 16, "epochs": 1},
            "probes": {"epsilon": 1e-3},
        },
    }  # fmt: skip
