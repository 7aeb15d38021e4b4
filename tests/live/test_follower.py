"""Runs that are looked at again and again: what is known of them, and what a look reads."""

import json
import shutil

import numpy as np
import pytest
from growing import add_tasks, open_run, whole

from neoteny import store
from neoteny.store import following


def _curves(view):
    return {run.row["folder"]: run.values.tolist() for run in view.runs}


@pytest.fixture
def read(monkeypatch):
    """The folders whose records and tables were read, in order."""
    found = []
    record, load = following.read_record, following._load

    def note_record(folder):
        found.append(folder.name)
        return record(folder)

    def note_tables(database, batch):
        found.extend(path.parent.name + " table" for path, _ in batch)
        return load(database, batch)

    monkeypatch.setattr(following, "read_record", note_record)
    monkeypatch.setattr(following, "_load", note_tables)
    return found


def test_a_look_says_what_status_says_and_has_the_values_of_the_tables(tmp_path):
    whole(tmp_path, 0.5, 0.25, seed=0)
    whole(tmp_path, 0.75, status="diverged", reason="loss not finite", seed=1)
    whole(tmp_path, 3.0, stream="poles", metric="online_return", column="online_return")
    with open_run(tmp_path, method="l2") as going:
        add_tasks(going, 1.0, float("nan"), 2.0)
        view = store.Follower(tmp_path).look(60.0)
        rows = {run.row["folder"]: run.row for run in view.runs}
        for row in store.status(tmp_path):
            mine = rows[row["folder"]]
            assert mine | row | {"reason": row["reason"] or ""} == mine
    assert _curves(view)["labels/bp/seed-0"] == [0.5, 0.25]
    assert _curves(view)["poles/bp/seed-0"] == [3.0]
    np.testing.assert_equal(_curves(view)["labels/l2/seed-0"], [1.0, np.nan, 2.0])
    assert (view.unread_records, view.unread_tables, view.damaged) == (0, 0, {})


def test_only_what_has_changed_is_read_again(tmp_path, read):
    whole(tmp_path, 0.5, seed=0)
    follower = store.Follower(tmp_path)
    with open_run(tmp_path, seed=1) as going:
        add_tasks(going, 0.5)
        follower.look(60.0)
        assert sorted(read) == ["seed-0", "seed-0 table", "seed-1", "seed-1 table"]
        read.clear()
        follower.look(60.0)
        assert read == []
        add_tasks(going, 0.25)
        whole(tmp_path, 1.0, seed=2)
        view = follower.look(60.0)
    assert sorted(read) == ["seed-1", "seed-1 table", "seed-2", "seed-2 table"]
    assert _curves(view)["labels/bp/seed-1"] == [0.5, 0.25]


def test_what_there_is_no_time_for_is_read_by_later_looks(tmp_path, monkeypatch):
    for seed in range(3):
        whole(tmp_path, 0.5, seed=seed)
    follower = store.Follower(tmp_path)
    left = []
    while not left or sum(left[-1]):
        view = follower.look(0.0)
        left.append((view.unread_records, view.unread_tables))
    assert left[0][0] == 2
    assert set(map(tuple, _curves(view).values())) == {(0.5,)}
    assert len(view.runs) == 3


def test_a_long_run_is_kept_as_means_over_blocks_of_its_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "POINTS", 4)
    values = np.random.default_rng(0).random(10)
    whole(tmp_path, *values, tasks=10)
    (run,) = store.Follower(tmp_path).look(60.0).runs
    assert run.block == 3
    means = [values[start : start + 3].mean() for start in range(0, 10, 3)]
    np.testing.assert_allclose(run.values, means, rtol=1e-15)


def test_a_folder_may_come_go_and_come_back(tmp_path):
    out = tmp_path / "later"
    follower = store.Follower(out)
    assert follower.look().runs == []
    whole(out, 0.5)
    assert len(follower.look(60.0).runs) == 1
    shutil.rmtree(out)
    assert follower.look(60.0).runs == []
    whole(out, 0.25)
    assert _curves(follower.look(60.0)) == {"labels/bp/seed-0": [0.25]}


def test_a_run_whose_process_has_died_is_interrupted_and_may_be_taken_up(tmp_path):
    follower = store.Follower(tmp_path)
    status = lambda: [run.row["status"] for run in follower.look(60.0).runs]
    with open_run(tmp_path) as run:
        add_tasks(run, 0.5)
        assert status() == ["running"]
    assert status() == ["interrupted"]
    with open_run(tmp_path):
        assert status() == ["running"]


HOSTILE = {
    "no JSON": "{",
    "endless": '{"config": {"study": "s", "stream": "s", "method": "m", "seed": 0, '
    '"tasks": 1e999}, "provenance": {}, "status": "finished", "tasks": 1}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_record_that_cannot_be_read_is_told_and_stops_no_other(tmp_path, text):
    whole(tmp_path, 0.5)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text(text)
    follower = store.Follower(tmp_path)
    for _ in range(2):
        view = follower.look(60.0)
        assert list(view.damaged) == ["bad"]
        assert _curves(view) == {"labels/bp/seed-0": [0.5]}


def test_a_table_that_cannot_be_read_leaves_the_others_their_curves(tmp_path):
    for seed in range(3):
        whole(tmp_path, 0.5, seed=seed)
    (tmp_path / "labels/bp/seed-1/tasks.parquet").write_bytes(b"PAR1")
    path = tmp_path / "labels/bp/seed-2/run.json"
    record = json.loads(path.read_text())
    record["config"]["setting"]["metric"] = 'no "such column'
    path.write_text(json.dumps(record))
    view = store.Follower(tmp_path).look(60.0)
    assert _curves(view) == {
        "labels/bp/seed-0": [0.5],
        "labels/bp/seed-1": [],
        "labels/bp/seed-2": [],
    }
    assert view.unread_tables == 0
