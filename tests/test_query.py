"""SQL over all runs of a folder: what it shows, and what it cannot be made to do."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from neoteny import store
from neoteny.store import Run, StoreError, gathered

LEADING = ["study", "stream", "method", "seed", "task"] + [
    f"{kind}_accuracy" for kind in ("online", "final", "heldout", "fresh")
]


def make_run(root, *, method="bp", seed=0, rows=({},), spectra=True, ending="finished", **extra):
    config = {"study": "s", "stream": "a", "method": method, "seed": seed, "tasks": 3} | extra
    folder = root / "a" / method / f"seed-{seed}"
    with Run.open(folder, config, {"device": "cpu"}) as run:
        for task, row in enumerate(rows):
            if spectra:
                nodes = np.array([[1.0, 2.0], [3.0, 4.0]]) + task
                run.save_spectrum(task, "start", nodes=nodes, weights=np.full((2, 2), 0.5), size=7)
            run.append(row)
        run.commit({"w": np.ones(1)}, seconds=1.5, microseconds_per_step=3.0)
        if ending:
            run.finish(ending)
    return folder


# ------------------------------------------------------------------ what it shows


def test_tasks_are_the_union_of_all_runs_with_the_leading_columns_first(tmp_path):
    make_run(tmp_path, method="bp", rows=[{"x": 1, "final_accuracy": 0.5}])
    make_run(tmp_path, method="cbp", rows=[{"y": "b", "x": 0.25}, {}])
    answer = store.query(tmp_path, "SELECT * FROM tasks")
    assert answer.columns == [*LEADING, "x", "y"]
    assert [row[2:5] + row[6:7] + row[9:] for row in answer.rows] == [
        ("bp", 0, 0, 0.5, 1.0, None),
        ("cbp", 0, 0, None, 0.25, "b"),
        ("cbp", 0, 1, None, None, None),
    ]


def test_sums_run_on_one_thread_so_that_an_answer_has_the_same_bits_every_time(tmp_path):
    make_run(tmp_path)
    assert store.query(tmp_path, "SELECT current_setting('threads')").rows == [(1,)]


def test_runs_tell_progress_place_and_configuration(tmp_path):
    make_run(tmp_path, learner={"step_size": 0.1})
    answer = store.query(tmp_path, "SELECT *, config ->> '$.learner.step_size' AS h FROM runs")
    row = dict(zip(answer.columns, answer.rows[0], strict=True))
    assert json.loads(row.pop("config"))["learner"] == {"step_size": 0.1}
    assert json.loads(row.pop("provenance"))["device"] == "cpu"
    assert row == {
        "study": "s",
        "stream": "a",
        "method": "bp",
        "seed": 0,
        "status": "finished",
        "reason": None,
        "tasks": 1,
        "seconds": 1.5,
        "microseconds_per_step": 3.0,
        "folder": "a/bp/seed-0",
        "h": "0.1",
    }


def test_spectra_have_a_row_for_each_node_of_each_probe(tmp_path):
    folder = make_run(tmp_path, rows=[{}, {}])
    with Run.open(tmp_path / "other", json.loads((folder / "run.json").read_text())["config"]) as r:
        r.save_spectrum(100_000, "end", "ntk", nodes=np.ones(1), weights=np.ones(1))
        r.save_spectrum(0, "none", values=np.ones(1))
    answer = store.query(
        tmp_path,
        "SELECT task, phase, matrix, probe, node, weight, size FROM Spectra WHERE method = 'bp'",
    )
    whole = [
        (task, "start", "hessian", probe, float(1 + step + 2 * probe + task), 0.5, 7)
        for task in (0, 1)
        for probe in (0, 1)
        for step in (0, 1)
    ]
    assert answer.rows == [*whole, (100_000, "end", "ntk", 0, 1.0, 1.0, None)]


def test_spectra_are_only_read_when_asked_for(tmp_path):
    folder = make_run(tmp_path)
    (folder / "spectra" / "task-00000-start-hessian.npz").write_bytes(b"damaged")
    assert store.query(tmp_path, "SELECT count(*) FROM tasks").rows == [(1,)]
    database = store.connect(tmp_path, spectra=False)
    assert database.execute("SELECT count(*) FROM spectra").fetchall() == [(0,)]
    database.close()
    with pytest.raises(StoreError, match=r"task-00000-start-hessian.npz` is damaged"):
        store.query(tmp_path, "SELECT count(*) FROM spectra")


def test_spectra_whose_shapes_differ_are_damaged(tmp_path):
    folder = make_run(tmp_path, ending=None)
    path = folder / "spectra" / "task-00000-start-hessian.npz"
    np.savez(path, nodes=np.ones((2, 3)), weights=np.ones(3))
    with pytest.raises(StoreError, match="differ in shape"):
        store.connect(tmp_path)


def test_runs_are_found_at_any_depth_with_seeds_in_the_order_of_numbers(tmp_path):
    made = [make_run(tmp_path, seed=seed) for seed in (10, 2, 1)]
    assert store.find_runs(tmp_path) == made[::-1]
    assert store.find_runs(made[0]) == [made[0]]
    assert store.find_runs(tmp_path / "nowhere") == []
    assert store.query(made[0], "SELECT seed, folder FROM runs").rows == [(10, ".")]


def test_status_says_how_far_each_run_is_and_whether_anyone_works_on_it(tmp_path):
    make_run(tmp_path, method="a", rows=[{}, {}, {}])
    make_run(tmp_path, method="b", ending=None)
    working = json.loads((make_run(tmp_path, method="c", ending=None) / "run.json").read_text())
    with Run.open(tmp_path / "a" / "c" / "seed-0", working["config"]):
        found = store.status(tmp_path)
        states = store.query(tmp_path, "SELECT status FROM runs").rows
    assert [(run["method"], run["status"]) for run in found] == [
        ("a", "finished"),
        ("b", "interrupted"),
        ("c", "running"),
    ]
    assert [state for (state,) in states] == ["finished", "interrupted", "running"]
    assert found[0] == {
        "study": "s",
        "stream": "a",
        "method": "a",
        "seed": 0,
        "status": "finished",
        "tasks_done": 3,
        "tasks_asked": 3,
        "seconds": 1.5,
        "reason": None,
        "failures": [],
        "folder": "a/a/seed-0",
    }


def test_a_run_without_tasks_has_empty_tables(tmp_path):
    Run.open(tmp_path, {"study": "s", "stream": "a", "method": "bp", "seed": 0, "tasks": 3}).close()
    assert store.query(tmp_path, "SELECT * FROM tasks") == (LEADING, [])
    assert store.query(tmp_path, "SELECT * FROM spectra").rows == []


def test_folder_names_are_never_patterns_or_columns(tmp_path):
    make_run(tmp_path / "lr=0.1 [x]*?'é", rows=[{}])
    make_run(tmp_path / "lr=0.1 xyz'é", rows=[{}])
    make_run(tmp_path / "lr=3", rows=[{}])
    for name in ("lr=0.1 [x]*?'é", "lr=3"):
        answer = store.query(tmp_path / name, "SELECT * FROM tasks")
        assert answer.columns == LEADING and len(answer.rows) == 1


# ------------------------------------------------------------------ many runs, kept as one file


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Two runs are many here; what is kept of them lies in this folder."""
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gathered, "FEW", 2)
    return tmp_path / "cache" / "tables"


def everything(root):
    tasks, spectra = (store.query(root, f"FROM {name}") for name in ("tasks", "spectra"))
    return tasks, spectra.rows


def directly(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(gathered, "FEW", 10**9)
        return everything(root)


def test_what_is_kept_answers_as_the_files_do(kept, tmp_path, monkeypatch):
    root = tmp_path / "runs"
    make_run(root, method="a", rows=[{"x": 1, "z": True}, {}])
    make_run(root, method="b", seed=2, rows=[{"x": 0.5, "y": "b"}])
    make_run(root, method="b", seed=10, rows=[{"x": None, "z": "c"}], ending="diverged")
    for _ in range(2):  # read from the files, then from what was kept of them
        assert everything(root) == directly(root, monkeypatch)
    assert sorted(path.name[24:] for path in kept.iterdir()) == [
        "-spectra.parquet",
        "-tasks.parquet",
    ]


def test_runs_that_are_new_or_go_on_come_in_their_places(kept, tmp_path, monkeypatch):
    root = tmp_path / "runs"
    for method in "bd":
        make_run(root, method=method, rows=[{"x": 1}])
    everything(root)
    monkeypatch.setattr(gathered, "FEW", 3)  # one that is new is not worth another file
    make_run(root, method="e", rows=[{"x": 3}])
    everything(root)
    before = {path: path.read_bytes() for path in kept.iterdir()}
    make_run(root, method="a", rows=[{"x": 2}, {"x": 4}])
    make_run(root, method="c", rows=[{"x": 5}], ending=None)
    assert everything(root) == directly(root, monkeypatch)
    assert [row[2] for row in everything(root)[0].rows] == ["a", "a", "b", "c", "d", "e"]
    assert before == {path: path.read_bytes() for path in kept.iterdir()}
    monkeypatch.setattr(gathered, "FEW", 2)  # two are
    assert everything(root) == directly(root, monkeypatch) == everything(root)
    assert before.keys() == {*kept.iterdir()} and before != {
        p: p.read_bytes() for p in kept.iterdir()
    }


def test_a_file_that_another_process_replaces_meanwhile_is_not_read_twice(
    kept, tmp_path, monkeypatch
):
    root = tmp_path / "runs"
    for method in "ab":
        make_run(root, method=method)
    everything(root)
    make_run(root, method="c")
    whole, before = directly(root, monkeypatch), gathered._kept

    def late(*arguments):
        found = before(*arguments)
        monkeypatch.setattr(gathered, "_kept", before)
        monkeypatch.setattr(gathered, "FEW", 1)
        store.query(root, "FROM tasks")  # which keeps three runs instead of two
        monkeypatch.setattr(gathered, "FEW", few)
        return found

    for few in (2, 1):  # with the third read beside the file, and about to be put into it
        monkeypatch.setattr(gathered, "FEW", few)
        monkeypatch.setattr(gathered, "_kept", late)
        assert store.query(root, "FROM tasks") == whole[0]
        shutil.rmtree(root / "a" / "c")
        assert len(store.query(root, "FROM tasks").rows) == 2
        make_run(root, method="c")


def test_a_run_that_was_removed_or_made_anew_leaves_nothing_behind(kept, tmp_path, monkeypatch):
    root = tmp_path / "runs"
    made = [make_run(root, method=method, rows=[{"x": method}]) for method in "abc"]
    everything(root)
    shutil.rmtree(made[0])
    assert everything(root) == directly(root, monkeypatch)
    shutil.rmtree(made[1])
    make_run(root, method="b", rows=[{"y": 7}])
    found = everything(root)
    assert found == directly(root, monkeypatch)
    assert found[0].columns[9:] == ["y", "x"] and len(found[0].rows) == 2


def test_what_was_kept_may_be_damaged_or_have_no_place(kept, tmp_path, monkeypatch):
    root = tmp_path / "runs"
    for method in "ab":
        make_run(root, method=method)
    whole = everything(root)
    for path in kept.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    assert everything(root) == whole == everything(root)
    shutil.rmtree(kept.parent)
    kept.parent.write_text("a file")
    assert everything(root) == whole


# ------------------------------------------------------------------ what goes wrong


def test_a_folder_that_is_missing_or_holds_no_runs_says_what_to_type(tmp_path):
    for ask in (store.status, store.connect, lambda folder: store.query(folder, "SELECT 1")):
        with pytest.raises(StoreError, match=r"holds no runs. Type `neoteny run ... --out"):
            ask(tmp_path)
        with pytest.raises(StoreError, match=r"no folder `.*/none`. Type `neoteny run ... --out"):
            ask(tmp_path / "none")


@pytest.mark.parametrize("name", ["run.json", "tasks.parquet"])
def test_a_damaged_file_is_named(tmp_path, name):
    make_run(tmp_path, method="a")
    (make_run(tmp_path, method="b") / name).write_bytes(b"{")
    with pytest.raises(StoreError, match=rf"a/b/seed-0/{name}` is damaged"):
        store.query(tmp_path, "SELECT 1")


def test_an_unknown_name_is_answered_with_the_names_there_are(tmp_path):
    make_run(tmp_path, rows=[{"rank": 1.0}])
    with pytest.raises(StoreError) as caught:
        store.query(tmp_path, "SELECT nothing FROM tasks")
    message = str(caught.value)
    assert "nothing" in message and "fresh_accuracy, rank)" in message and "\n" not in message
    assert "provenance" not in message
    with pytest.raises(StoreError, match=r"steps does not exist.*runs \(.*tasks \(.*spectra \("):
        store.query(tmp_path, "SELECT * FROM steps")


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT 1/", "SELECT 'a'::INT", "", "  ", "-- x"])
def test_wrong_sql_is_one_clean_sentence(tmp_path, sql):
    make_run(tmp_path)
    with pytest.raises(StoreError) as caught:
        store.query(tmp_path, sql)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


ATTEMPTS = [
    "COPY tasks TO 'evil.csv'",
    "COPY tasks TO 'evil.parquet' (FORMAT parquet)",
    "EXPORT DATABASE 'evil'",
    "ATTACH 'evil.db' AS evil",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT getenv('HOME')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true; COPY tasks TO 'evil.csv'",
    "RESET lock_configuration",
    "SELECT 1; COPY tasks TO 'evil.csv'",
    "PRAGMA enable_profiling = 'json'",
    "SET profiling_output = 'evil.json'",
    "SET log_query_path = 'evil.log'",
    "SET temp_directory = '.'",
    "CALL enable_logging(storage = 'file', storage_path = 'evil')",
    "CREATE PERSISTENT SECRET evil (TYPE s3)",
    "SELECT * FROM secret",
    "SELECT * FROM os",
]


@pytest.mark.parametrize("sql", ATTEMPTS)
def test_no_sql_reaches_files_settings_extensions_or_python(tmp_path, monkeypatch, sql):
    secret = {"x": np.ones(2)}  # a name that DuckDB could find in the caller's frame
    make_run(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        store.query(tmp_path / "runs", sql)
    assert os.listdir(tmp_path) == ["runs"] and secret


def test_changing_the_tables_changes_nothing_on_disk(tmp_path):
    make_run(tmp_path, rows=[{}, {}])
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for sql in ("DROP TABLE tasks", "DELETE FROM tasks", "UPDATE runs SET status = 'x'"):
        store.query(tmp_path, sql)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert store.query(tmp_path, "SELECT count(*) FROM tasks").rows == [(2,)]


WRITER = """
import os, sys
from neoteny.store import Run
config = dict(study="s", stream="a", method="bp", seed=0, tasks=10**6)
os.fsync = lambda handle: None
with Run.open(sys.argv[1], config) as run:
    for task in range(10**6):
        run.append({"x": float(task), f"column_{min(task // 5, 20)}": task, "text": str(task)})
        run.commit({}, seconds=0.0, microseconds_per_step=None)
        if not task:
            print("writing", flush=True)
"""


def test_reading_while_a_run_writes_sees_whole_commits(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout.readline() == b"writing\n"
            seen = []
            for _ in range(40):
                count, last, texts = store.query(
                    tmp_path, "SELECT count(*), max(x), count(DISTINCT text) FROM tasks"
                ).rows[0]
                assert count == last + 1 == texts
                seen.append(count)
            assert writer.poll() is None
        finally:
            writer.kill()
    assert seen == sorted(seen) and seen[-1] > seen[0] + 20
