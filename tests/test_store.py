"""A run's folder survives anything: kills at every instant, damage, rivals, full disks."""

import enum
import errno
import json
import os
import subprocess
import sys
import textwrap
import zipfile

import duckdb
import numpy as np
import pytest

from neoteny import store
from neoteny.store import Run, StoreError

CONFIG = {
    "study": "trial",
    "stream": "digits",
    "method": "bp",
    "seed": 0,
    "tasks": 4,
    "learner": {"step_size": 0.1, "widths": [8, 8]},
}


def learn(folder, *, tasks=2, finish=False, **config):
    """A short run: one row and one spectrum a task, committed after each."""
    with Run.open(folder, CONFIG | config) as run:
        for task in range(run.tasks_done, tasks):
            run.save_spectrum(task, "start", nodes=np.ones((2, 3)), weights=np.ones((2, 3)), size=9)
            run.append({"final_accuracy": 0.5 + task})
            run.commit({"w": np.arange(5.0) + task}, seconds=1.0 + task, microseconds_per_step=2.0)
        if finish:
            run.finish("finished")


def table(folder):
    path = str(folder / "tasks.parquet")
    with duckdb.connect() as database:
        answer = database.execute("SELECT * FROM read_parquet(?)", [path])
        return {c[0]: str(c[1]) for c in answer.description}, answer.fetchall()


# ------------------------------------------------------------------ what is kept


def test_a_run_comes_back_with_the_rows_arrays_and_seconds_of_its_last_commit(tmp_path):
    learn(tmp_path / "run", tasks=2)
    with Run.open(tmp_path / "run", CONFIG) as run:
        task, arrays = run.checkpoint()
        assert (task, run.tasks_done, run.seconds, run.status) == (2, 2, 2.0, "running")
        np.testing.assert_array_equal(arrays["w"], np.arange(5.0) + 1)
    assert table(tmp_path / "run")[1][1][:6] == ("trial", "digits", "bp", 0, 1, None)


def test_a_new_run_has_no_checkpoint_and_records_its_configuration(tmp_path):
    with Run.open(tmp_path / "run", CONFIG, {"device": "cpu"}) as run:
        assert run.checkpoint() is None and run.tasks_done == 0 and not run.finished
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"] == CONFIG and record["status"] == "running"
    assert record["provenance"].keys() == {"created", "device"}


def test_arrays_keep_names_dtypes_shapes_and_bits(tmp_path):
    arrays = {
        "params/0/ω": np.array([[np.nan, -0.0], [np.inf, 1e-300]]),
        "../file": np.float32(1.5) * np.ones((2, 0, 3), np.float32),
        "file": np.uint32([7, 2**32 - 1]),
        "x.npy": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "flag": np.bool_(True),
    }
    with Run.open(tmp_path, CONFIG) as run:
        run.commit(arrays, seconds=0.0, microseconds_per_step=None)
        _, found = run.checkpoint()
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        array = np.asarray(array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_columns_have_the_types_of_their_values_and_nan_is_null(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        run.append({"a": 1, "b": 0.5, "c": "x", "d": True, "e": None, "f": np.float32(0.25)})
        run.append({"a": None, "b": float("nan"), "c": "", "d": np.bool_(False), "e": None})
        run.append({"b": float("-inf"), "g": np.int32(3)})
        run.commit({}, seconds=0.0, microseconds_per_step=None)
    types, rows = table(tmp_path)
    assert [types[name] for name in "abcdefg"] == (
        ["BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN", "DOUBLE", "DOUBLE", "BIGINT"]
    )
    assert [row[9:] for row in rows] == [
        (1, 0.5, "x", True, None, 0.25, None),
        (None, None, "", False, None, None, None),
        (None, None, None, None, None, None, 3),
    ]


def test_a_column_widens_from_null_to_int_to_float(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        for value in (None, 2, 2.5, 3):
            run.append({"x": value})
        run.commit({}, seconds=0.0, microseconds_per_step=None)
    types, rows = table(tmp_path)
    assert types["x"] == "DOUBLE" and [row[9] for row in rows] == [None, 2.0, 2.5, 3.0]


def varied(task):
    """Rows in which columns come late, stay away, widen, and have values at every edge."""
    row = {"float": task / 7 if task % 3 else None, "int": 2**62 + task, "never": None}
    row |= {"text": None if task % 2 else f"{task % 5}é\0", "truth": task % 4 == 0}
    if task >= 3:
        row |= {"late": task, "widens": 2**53 if task < 5 else 0.5, "missing": None}
    if task >= 6:
        row |= {"late text": "", "late truth": None if task % 2 else True, "late int": None}
    return row | ({"late int": task} if task >= 9 else {})


def written(folder, row, batches):
    """The table's bytes when rows are committed in `batches`, given by their sizes."""
    with Run.open(folder, CONFIG) as run:
        for batch in batches:
            for _ in range(batch):
                run.append(row(run.tasks_done))
            run.commit({}, seconds=0.0, microseconds_per_step=None)
    return (folder / "tasks.parquet").read_bytes()


@pytest.mark.parametrize("batches", [[1] * 12, [0, 5, 0, 7], [3, 9], [11, 1]])
def test_the_table_does_not_show_which_rows_were_committed_together(tmp_path, batches):
    once = written(tmp_path / "once", varied, [12])
    assert written(tmp_path / "batches", varied, batches) == once
    for rows in batches:  # nor which process committed them
        resumed = written(tmp_path / "resumed", varied, [rows])
    assert resumed == once
    rows = table(tmp_path / "once")[1]
    names = [*table(tmp_path / "once")[0]]
    for task, row in enumerate(rows):
        found = dict(zip(names, row, strict=True))
        assert all(found[name] == value for name, value in varied(task).items())


def test_nor_does_a_table_of_more_rows_than_duckdb_handles_in_one_go(tmp_path):
    def row(task):
        late = "x" if task == 4_199 else None
        return {"x": task / 7, "s": str(task // 3), "int": task if task % 5 else None, "late": late}

    once = written(tmp_path / "once", row, [4_200])  # 2,048 rows are one vector of DuckDB's
    assert written(tmp_path / "batches", row, [1, 2_999, 2, 1_198]) == once


def test_a_member_of_an_enumeration_is_the_text_or_number_it_stands_for(tmp_path):
    class Colour(enum.StrEnum):
        RED = "red"

    with Run.open(tmp_path, CONFIG) as run:
        run.append({"colour": Colour.RED, "number": enum.IntEnum("Number", "ONE").ONE})
        run.commit({}, seconds=0.0, microseconds_per_step=None)
    types, rows = table(tmp_path)
    assert (types["colour"], types["number"]) == ("VARCHAR", "BIGINT")
    assert rows[0][9:] == ("red", 1)


def test_text_with_quotes_and_any_alphabet_survives_in_rows_columns_and_paths(tmp_path):
    folder = tmp_path / "it's [a] *läuft* ? 学習 lr=0.1"
    odd = "ünï'\"; DROP TABLE tasks; --"
    with Run.open(folder, CONFIG | {"method": odd}) as run:
        run.append({odd: odd, "never (": None})
        run.commit({odd: np.ones(1)}, seconds=0.0, microseconds_per_step=None)
    with Run.open(folder, CONFIG | {"method": odd}) as run:
        assert run.tasks_done == 1 and odd in run.checkpoint()[1]
    answer = store.query(tmp_path, "SELECT * FROM tasks")
    assert answer.columns[9:] == [odd, "never ("] and answer.rows[0][2] == answer.rows[0][9] == odd


# ------------------------------------------------------------------ killed


KILLED_EVERYWHERE = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import duckdb, numpy as np
    from neoteny import store

    root = Path(sys.argv[1])
    config = dict(study="s", stream="a", method="bp", seed=0, tasks=4)
    replace, steps = os.replace, 0
    os.fsync = lambda handle: None  # a kill loses nothing that the kernel has

    def work(folder):
        with store.Run.open(folder, config) as run:
            if run.finished:
                return
            found = run.checkpoint()
            first, w = (found[0], found[1]["w"]) if found else (0, np.zeros(3))
            assert first == run.tasks_done
            for task in range(first, 4):
                w = np.sin(w + task)
                run.save_spectrum(task, "end", nodes=w, weights=w)
                row = {"final_accuracy": float(w[0]), "null": None}
                if task >= 1:
                    row["late"] = task if task < 3 else 0.5
                if task == 2:
                    row |= {"word": "w", "null_then_int": 7}
                if task < 2:
                    row["null_then_int"] = None
                run.append(row)
                if task != 1:  # rows of task 1 wait for task 2
                    run.commit({"w": w}, seconds=1.0, microseconds_per_step=None)
            run.finish("finished")

    def child(folder, last):
        pid = os.fork()
        if pid:
            return os.waitpid(pid, 0)[1]

        def dying(source, target):
            global steps
            for act in (lambda: None, lambda: replace(source, target)):
                if steps == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                act()
                steps += 1

        os.replace = dying
        try:
            work(folder)
            os._exit(0)
        except BaseException as error:
            print(type(error), error, flush=True)
            os._exit(1)

    def content(folder):
        files = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return {str(p): b for p, b in files.items() if p.name not in (".lock", "run.json")}

    assert child(root / "whole", -1) == 0
    whole, last = content(root / "whole"), 0
    while True:
        folder = root / f"killed-{last}"
        end = child(folder, last)
        if end == 0:
            break
        assert end == signal.SIGKILL, end
        assert child(folder, last + 1) in (0, signal.SIGKILL)  # and killed once more
        assert child(folder, -1) == 0, last
        found = content(folder)
        assert found.keys() == whole.keys(), (last, found.keys() ^ whole.keys())
        for name in whole:
            assert found[name] == whole[name], (last, name)
        last += 1
    print(last)
    """
)


def test_a_run_killed_around_every_rename_ends_with_the_bytes_of_an_uninterrupted_one(tmp_path):
    script = [sys.executable, "-c", KILLED_EVERYWHERE, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    # a record, four spectra, three commits of three files, the end: each before and after
    assert int(done.stdout) == 2 * (1 + 4 + 3 * 3 + 1)


@pytest.mark.parametrize("survivor", ["tasks.parquet", "checkpoint.npz", "run.json"])
def test_rows_beyond_the_checkpoint_are_dropped_and_can_be_appended_again(
    tmp_path, monkeypatch, survivor
):
    """A commit that stops after `survivor`; the checkpoint says where it goes on."""
    learn(tmp_path, tasks=1)
    true, renamed = os.replace, []

    def dying(source, target):
        if survivor in renamed:
            raise KeyboardInterrupt
        true(source, target)
        renamed.append(target.name)

    monkeypatch.setattr(os, "replace", dying)
    run = Run.open(tmp_path, CONFIG)
    renamed.clear()
    run.append({})
    try:
        run.commit({"w": np.ones(1)}, seconds=2.0, microseconds_per_step=None)
    except KeyboardInterrupt:
        assert survivor != "run.json"
    run.close()
    monkeypatch.setattr(os, "replace", true)
    assert len(table(tmp_path)[1]) == 2
    with Run.open(tmp_path, CONFIG) as run:
        expected = 1 if survivor == "tasks.parquet" else 2
        assert run.tasks_done == run.checkpoint()[0] == expected
        run.append({"task": expected})


def test_a_table_with_fewer_rows_than_the_checkpoint_is_an_error(tmp_path):
    learn(tmp_path, tasks=1)
    old = (tmp_path / "tasks.parquet").read_bytes()
    learn(tmp_path, tasks=2)
    (tmp_path / "tasks.parquet").write_bytes(old)
    with pytest.raises(StoreError, match=r"checkpoint is at task 2, of which the table has 1"):
        Run.open(tmp_path, CONFIG)
    (tmp_path / "tasks.parquet").unlink()
    with pytest.raises(StoreError, match="checkpoint is at task 2, no table"):
        Run.open(tmp_path, CONFIG)


def test_what_a_killed_writer_left_half_written_is_swept_away(tmp_path):
    learn(tmp_path, tasks=1)
    left = [
        tmp_path / ".tasks.parquet.tmp",
        tmp_path / "spectra" / ".task-00001-start-hessian.npz.tmp",
    ]
    for path in left:
        path.write_bytes(b"half")
    Run.open(tmp_path, CONFIG).close()
    assert not any(path.exists() for path in left)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux for a handle's path")
def test_no_loss_of_power_can_keep_a_checkpoint_and_lose_what_it_stands_on(tmp_path, monkeypatch):
    """Of names that were not flushed, and content that was not, the disk may keep any part."""
    true_replace, true_fsync, safe, loose = os.replace, os.fsync, set(), set()

    def fsync(handle):
        path = os.readlink(f"/proc/self/fd/{handle}")
        safe.add(path)
        loose.difference_update([name for name in loose if os.path.dirname(name) == path])
        true_fsync(handle)

    def replace(source, target):
        assert str(source) in safe, f"{target} may be half written"
        safe.remove(str(source))
        decides = target.name == "checkpoint.npz" or (ended and target.name == "run.json")
        assert not (decides and loose), f"{target} may be there without {loose}"
        loose.add(str(target))
        true_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    ended = False
    with Run.open(tmp_path, CONFIG) as run:
        for task in range(3):
            run.save_spectrum(task, "end", nodes=np.ones(2), weights=np.ones(2))
            run.append({})
            run.commit({"w": np.ones(2)}, seconds=1.0, microseconds_per_step=None)
            assert not loose
        run.save_spectrum(3, "end", nodes=np.ones(2), weights=np.ones(2))
        ended = True
        run.finish("finished")
        assert not loose


# ------------------------------------------------------------------ how it ends


@pytest.mark.parametrize("ending", ["finished", "diverged"])
def test_an_ended_run_stays_as_it_is(tmp_path, ending):
    with Run.open(tmp_path, CONFIG) as run:
        run.append({})
        run.commit({"w": np.ones(1)}, seconds=1.0, microseconds_per_step=None)
        run.finish(ending, "because")
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with Run.open(tmp_path, CONFIG, {"device": "other"}) as run:
        assert run.finished and run.status == ending and run.tasks_done == 1
        with pytest.raises(StoreError, match=f"is {ending} and closed for writing"):
            run.append({})
        Run.open(tmp_path, CONFIG).close()  # it holds no lock either
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    (tmp_path / "tasks.parquet").unlink()
    with pytest.raises(StoreError, match="its table is gone"):
        Run.open(tmp_path, CONFIG)


def test_a_failed_run_is_tried_again_from_its_last_commit(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        run.append({})
        run.finish("failed", "out of memory \udc80")
    assert store.status(tmp_path)[0]["reason"] == "out of memory \udc80"
    with Run.open(tmp_path, CONFIG) as run:
        assert (run.status, run.finished, run.tasks_done) == ("running", False, 0)


def test_a_run_cannot_finish_over_uncommitted_rows_or_under_an_unknown_status(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        with pytest.raises(StoreError, match="`status` is 'done'"):
            run.finish("done")
        run.append({})
        with pytest.raises(StoreError, match="1 uncommitted rows"):
            run.finish("finished")


# ------------------------------------------------------------------ what is refused


def test_another_configuration_is_refused_with_the_fields_that_differ(tmp_path):
    learn(tmp_path, tasks=1)
    other = CONFIG | {"tasks": 9, "learner": {"step_size": 0.01, "widths": [8, 8], "decay": 1}}
    with pytest.raises(StoreError) as caught:
        Run.open(tmp_path, other)
    message = str(caught.value)
    assert "`tasks` is 4 there and 9 here" in message
    assert "`learner.step_size` is 0.1 there and 0.01 here" in message
    assert "`learner.decay` is absent there and 1 here" in message
    assert "--out" in message and "remove" in message and "widths" not in message
    learn(tmp_path, tasks=2)  # and the run itself is unharmed


def test_checking_refuses_another_configuration_and_touches_nothing(tmp_path):
    store.check(tmp_path / "new" / "run", CONFIG)
    assert not (tmp_path / "new").exists()
    with Run.open(tmp_path, CONFIG), pytest.raises(StoreError, match="run by another process"):
        store.check(tmp_path, CONFIG)
    store.check(tmp_path, CONFIG)
    with pytest.raises(StoreError, match="`tasks` is 4 there and 5 here"):
        store.check(tmp_path, CONFIG | {"tasks": 5})


def test_a_text_is_written_whole_with_its_folders(tmp_path):
    store.write_text(tmp_path / "a" / "b.json", "é\n")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.json"]
    assert (tmp_path / "a" / "b.json").read_text(encoding="utf-8") == "é\n"
    with pytest.raises(StoreError, match=r"b.json` cannot be written"):
        store.write_text(tmp_path / "a" / "b.json" / "c", "")


def test_a_tuple_in_the_configuration_is_the_list_that_json_makes_of_it(tmp_path):
    learn(tmp_path, tasks=1)
    learn(tmp_path, tasks=2, learner={"step_size": 0.1, "widths": (8, 8)})


@pytest.mark.parametrize(
    "change, words",
    [({"seed": {1}}, "plain JSON data"), ({"x": float("nan")}, "JSON"), ({"x": "\udc80"}, "JSON")],
)
def test_a_configuration_that_is_no_plain_data_is_refused(tmp_path, change, words):
    with pytest.raises(StoreError, match=words):
        Run.open(tmp_path, CONFIG | change)


def test_a_configuration_without_identity_is_refused(tmp_path):
    with pytest.raises(StoreError, match="lacks method, seed"):
        Run.open(tmp_path, {"study": "s", "stream": "a", "tasks": 1})


@pytest.mark.parametrize(
    "row, words",
    [
        ({"seed": 1}, "`seed` is 1, but the next row"),
        ({"task": 5}, "`task` is 5, but the next row of .* has 0"),
        ({"x": [1.0]}, "`x` got a value of type list"),
        ({"x": 2**70}, "cannot be stored"),
        ({"Final_accuracy": 1.0}, "`final_accuracy` and `Final_accuracy` differ in nothing but"),
        ({"x": 1, "X": 2}, "`x` and `X` differ in nothing but case"),
        ({"x": "\udc80"}, "cannot be stored: the text of column `x`"),
        ({"\udc80": 1}, "has a name that is no text"),
        ({"": 1}, "has the empty name"),
    ],
)
def test_a_row_that_does_not_belong_is_refused(tmp_path, row, words):
    with Run.open(tmp_path, CONFIG) as run, pytest.raises(StoreError, match=words):
        run.append(row)


def test_a_value_of_another_kind_than_its_column_is_refused(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        run.append({"x": 1.0, "y": True})
        with pytest.raises(StoreError, match=r"Column `x` is DOUBLE so far, .* VARCHAR"):
            run.append({"x": "one"})
        with pytest.raises(StoreError, match=r"Column `y` is BOOLEAN so far, .* BIGINT"):
            run.append({"y": 1})


def test_a_refused_row_leaves_no_trace(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        for refused in ({"x": "text", "y": 2**63}, {"z": 1, "Z": 1}, {"z": True, "w": []}):
            with pytest.raises(StoreError):
                run.append(refused)
        run.append({"x": -(2**63)})
        run.commit({}, seconds=0.0, microseconds_per_step=None)
    types, rows = table(tmp_path)
    assert [*types][9:] == ["x"] and rows[0][9:] == (-(2**63),) and len(rows) == 1


def test_arrays_that_would_lose_their_meaning_are_refused(tmp_path):
    bfloat16 = np.dtype([("a", "V2")])
    with Run.open(tmp_path, CONFIG) as run:
        for array in (np.array([{}]), np.zeros(2, bfloat16)):
            with pytest.raises(StoreError, match="`w` has dtype"):
                run.commit({"w": array}, seconds=0.0, microseconds_per_step=None)
        with pytest.raises(StoreError, match="name `task`"):
            run.commit({"task": np.ones(1)}, seconds=0.0, microseconds_per_step=None)
        with pytest.raises(StoreError, match=r"`phase` is '../x'"):
            run.save_spectrum(0, "../x", nodes=np.ones(1))


def test_a_second_process_is_refused_while_the_first_lives_and_let_in_when_it_is_killed(tmp_path):
    holder = (
        "import json, sys, time; from neoteny.store import Run; "
        "run = Run.open(sys.argv[1], json.loads(sys.argv[2])); print('held', flush=True); "
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(tmp_path), json.dumps(CONFIG)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(StoreError, match=rf"another process \(pid {process.pid}\)"):
                Run.open(tmp_path, CONFIG)
            assert store.status(tmp_path)[0]["status"] == "running"
        finally:
            process.kill()
    assert store.status(tmp_path)[0]["status"] == "interrupted"
    Run.open(tmp_path, CONFIG).close()


def test_a_truth_value_is_not_the_number_that_equals_it(tmp_path):
    learn(tmp_path, tasks=1, flag=1)
    with pytest.raises(StoreError, match="`flag` is 1 there and true here"):
        learn(tmp_path, flag=True)


def test_a_failed_open_lets_go_of_the_lock(tmp_path):
    with pytest.raises(StoreError, match="another configuration"):
        learn(tmp_path)
        Run.open(tmp_path, CONFIG | {"tasks": 5})
    Run.open(tmp_path, CONFIG).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/run` cannot be written: Not a directory"):
        Run.open(tmp_path / "file" / "run", CONFIG)


# ------------------------------------------------------------------ damage


def test_a_checkpoint_with_any_one_byte_flipped_is_refused_or_harmless(tmp_path):
    path = tmp_path / "checkpoint.npz"
    with Run.open(tmp_path, CONFIG) as run:
        run.commit({"w": np.arange(3.0), "v": np.ones(2)}, seconds=0.0, microseconds_per_step=None)
        whole = path.read_bytes()
        refused = 0
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            try:
                task, arrays = run.checkpoint()
            except StoreError as error:
                assert str(path) in str(error)
                refused += 1
            else:
                assert task == 0 and arrays.keys() == {"w", "v"}
                np.testing.assert_array_equal(arrays["w"], np.arange(3.0))
                np.testing.assert_array_equal(arrays["v"], np.ones(2))
    assert refused > len(whole) / 2  # what is harmless: dates and the like in ZIP headers


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("name", ["checkpoint.npz", "tasks.parquet", "run.json"])
def test_a_truncated_file_is_named_with_what_to_do(tmp_path, name, kept):
    learn(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(StoreError, match=rf"{name}` is damaged: .* remove the folder"):
        Run.open(tmp_path, CONFIG)


def test_a_pickle_in_a_checkpoint_is_refused_and_never_run(tmp_path):
    learn(tmp_path)

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    evil = np.array([Evil()], dtype=object)
    np.savez(tmp_path / "checkpoint.npz", task=np.array([1, 1]), w=evil)
    with pytest.raises(StoreError, match="damaged"):
        Run.open(tmp_path, CONFIG)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_that_lacks_an_array_or_its_count_is_refused(tmp_path):
    learn(tmp_path)
    np.savez(tmp_path / "checkpoint.npz", task=np.array([2, 2]), w=np.ones(1))
    with pytest.raises(StoreError, match="arrays are missing"):
        Run.open(tmp_path, CONFIG)
    with zipfile.ZipFile(tmp_path / "checkpoint.npz", "w"):
        pass
    with pytest.raises(StoreError, match="arrays are missing"):
        Run.open(tmp_path, CONFIG)


@pytest.mark.parametrize("text", ["[]", "{}", '{"config": 1}', "[" * 100_000, "\x00", "null"])
def test_a_record_that_is_no_record_is_refused(tmp_path, text):
    learn(tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run.json` is damaged"):
        Run.open(tmp_path, CONFIG)


def test_a_folder_whose_record_is_gone_is_refused_rather_than_overwritten(tmp_path):
    learn(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(StoreError, match=r"gone, but `tasks.parquet` is there"):
        Run.open(tmp_path, CONFIG)


# ------------------------------------------------------------------ a full disk


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux for a handle's path")
@pytest.mark.parametrize("name", ["tasks.parquet", "checkpoint.npz", "run.json", "task-00000-end"])
def test_a_full_disk_leaves_the_old_files_and_says_which_could_not_be_written(
    tmp_path, monkeypatch, name
):
    with Run.open(tmp_path, CONFIG) as run:
        run.append({})
        run.save_spectrum(0, "end", nodes=np.ones(2))
        run.commit({"w": np.ones(2)}, seconds=1.0, microseconds_per_step=None)
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if name in p.name}
        true = os.fsync

        def full(handle):
            if name in os.readlink(f"/proc/self/fd/{handle}"):
                raise OSError(errno.ENOSPC, "No space left on device")
            true(handle)

        monkeypatch.setattr(os, "fsync", full)
        run.append({})
        with pytest.raises(StoreError, match=rf"{name}.*` cannot be written: No space left"):
            run.save_spectrum(0, "end", nodes=np.zeros(2))
            run.commit({"w": np.zeros(2)}, seconds=2.0, microseconds_per_step=None)
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if name in p.name} == before
        assert not list(tmp_path.rglob("*.tmp"))
        monkeypatch.setattr(os, "fsync", true)
        run.commit({"w": np.ones(2)}, seconds=2.0, microseconds_per_step=None)  # room again
    assert len(table(tmp_path)[1]) == 2


def test_duckdb_running_out_of_room_is_told_like_any_other_full_disk(tmp_path):
    resource = pytest.importorskip("resource")
    with Run.open(tmp_path, CONFIG) as run:
        for _ in range(3):
            run.append({"text": np.random.default_rng(run.tasks_done).bytes(3000).hex()})
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        try:
            with pytest.raises(StoreError, match=r"tasks.parquet` cannot be written: "):
                run.commit({}, seconds=0.0, microseconds_per_step=None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not (tmp_path / "tasks.parquet").exists() and not list(tmp_path.glob("*.tmp"))


# ------------------------------------------------------------------ provenance, imports


def test_other_provenance_on_resuming_is_listed_and_equal_provenance_is_not(tmp_path):
    for device in ("cpu", "cpu", "gpu"):
        Run.open(tmp_path, CONFIG, {"device": device}).close()
    provenance = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert provenance["device"] == "cpu"
    assert [other["device"] for other in provenance["resumed"]] == ["gpu"]


def test_importing_the_store_and_the_statistics_brings_in_neither_jax_nor_duckdb():
    code = (
        "import sys, neoteny.store, neoteny.statistics; "
        "print([name for name in ('jax', 'duckdb', 'jaxtyping') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
