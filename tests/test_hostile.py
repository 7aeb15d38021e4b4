"""What others wrote is read or refused in a sentence: nothing runs, escapes or fills memory."""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import duckdb
import numpy as np
import pytest

from neoteny import api, checkpoints, npy, plugins, store, streams, sweep, tables
from neoteny.config import changed, value_of
from neoteny.errors import LONGEST, UserError
from neoteny.store import Run, StoreError, files
from neoteny.streams import DataError, archives
from neoteny.studies import load
from tiny import environment, study

ROOT = Path(__file__).parents[1]
CONFIG = {"study": "s", "stream": "a", "method": "bp", "seed": 0, "tasks": 1}


def make_run(folder, **config):
    with Run.open(folder, CONFIG | config) as run:
        run.save_spectrum(0, "start", nodes=np.ones((1, 2)), weights=np.ones((1, 2)))
        run.append({"final_accuracy": 0.5})
        run.commit({"w": np.ones(2)}, seconds=1.0, microseconds_per_step=None)
        run.finish("finished")
    return folder


def rewrite(folder, **changes):
    record = json.loads((folder / "run.json").read_text()) | changes
    (folder / "run.json").write_text(json.dumps(record))


def test_a_short_campaign_finds_every_reader_safe(scratch):
    command = [sys.executable, ROOT / "benchmarks" / "fuzz.py", "--here", "--inputs", "250"]
    done = subprocess.run(
        [*command, "--seed", "7"], env=environment(scratch), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) > 15


# ---- words


def test_a_refusal_is_one_line_that_a_terminal_shows_as_it_is_however_long_a_value():
    said = str(UserError(f"`x` is \x1b[2J\ud800 and\n  {'9' * 10**6}. Pass less."))
    assert said.startswith("`x` is \\x1b[2J\\ud800 and 999") and said.endswith("9. Pass less.")
    assert len(said) < LONGEST + 9 and said.isprintable()


def test_a_cell_shows_orders_to_the_terminal_as_escapes():
    assert tables.text("\x1b]0;x\x07é") == "\\x1b]0;x\\x07é" and tables.text("a\nb") == "a\nb"


@pytest.mark.parametrize("text", ["[" * 5000, "9" * 5000, "1\n[", "{" * 5000])
def test_what_is_no_value_of_toml_is_text(text):
    assert value_of(text) == text


@pytest.mark.parametrize("text", [f"x = {'[' * 5000}", f"x = {'9' * 5000}", "x = '\0'"])
def test_a_study_that_no_parser_takes_is_refused(tmp_path, text):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UserError, match=r"x\.toml is n"):
        load(str(tmp_path / "x.toml"))


def test_streams_that_were_replaced_by_a_value_are_refused():
    with pytest.raises(UserError, match="`streams` is 5"):
        changed(study(), {"streams": "5", "tasks": "3"})


def test_more_runs_than_can_be_listed_are_refused_before_any_is_built():
    with pytest.raises(UserError, match=r"2,147,483,647 runs, and a study has at most 100,000"):
        api.runs_of(study(seeds=2**31 - 1), None)
    axes = {name: [*map(str, range(1, 101))] for name in ("tasks", "batch", "epochs")}
    with pytest.raises(UserError, match="1,000,000 runs"):
        api.runs_of(study(), axes)
    with pytest.raises(UserError, match="seeds are below 4294967296"):
        sweep.expand(study(first_seed=2**32 - 1, seeds=2))


@pytest.mark.parametrize("name", ["a\0.py", "x" * 300 + ".py", "\ud800.py"])
def test_a_plugin_whose_name_no_file_can_have_is_refused(name):
    with pytest.raises(UserError, match="needs an existing Python file"):
        plugins.load(Path(name))


# ---- folders of runs


def test_a_stored_metric_is_no_sql(tmp_path):
    evil = f"1 FROM tasks; COPY (SELECT 1) TO '{tmp_path}/evil'; SELECT 1, 1"
    make_run(tmp_path / "runs" / "a", setting={"metric": evil})
    make_run(tmp_path / "runs" / "b", setting={"metric": "no_return"}, method="l2")
    with pytest.raises(StoreError, match="not as neoteny writes them"):
        api.Results(tmp_path / "runs").verdict()
    assert os.listdir(tmp_path) == ["runs"]


def test_tables_have_no_way_to_files_but_into_the_folder_that_is_named(tmp_path):
    make_run(tmp_path / "run")
    (tmp_path / "here").mkdir()
    (tmp_path / "x.csv").write_text("a\n1\n")
    for database in (store.connect(tmp_path), store.connect(tmp_path, writable=tmp_path / "here")):
        for sql in (f"FROM '{tmp_path}/x.csv'", f"COPY tasks TO '{tmp_path}/here/../evil.csv'"):
            with pytest.raises(duckdb.PermissionException):
                database.execute(sql)
    database.execute(f"COPY tasks TO '{tmp_path}/here/good.csv'")
    assert sorted(os.listdir(tmp_path)) == ["here", "run", "x.csv"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": True}, {"tasks": 10**400}, {"seconds": [1]}, {"seconds": float("nan")},
        {"reason": {}}, {"failures": "x"}, {"microseconds_per_step": "1"}, {"status": 5},
        {"config": CONFIG | {"seed": "0"}}, {"config": CONFIG | {"study": {}}},
        {"config": CONFIG | {"tasks": 2**31}},
    ],
)  # fmt: skip
def test_a_record_of_other_types_is_damaged(tmp_path, changes):
    rewrite(make_run(tmp_path / "run"), **changes)
    for ask in (store.status, store.connect):
        with pytest.raises(StoreError, match=r"run\.json` is damaged: the type of \w+ is wrong"):
            ask(tmp_path)


def test_a_record_whose_brackets_are_too_deep_is_damaged(tmp_path):
    make_run(tmp_path, more={})
    text = (tmp_path / "run.json").read_text()
    for depth in (200, 900, 100_000):
        (tmp_path / "run.json").write_text(text.replace("{}", "[" * depth + "]" * depth, 1))
        with pytest.raises(StoreError, match="damaged"):
            store.connect(tmp_path)


def test_a_reason_that_is_no_text_can_be_asked_for(tmp_path):
    with Run.open(tmp_path, CONFIG) as run:
        run.finish("failed", "no file \udcff")
    assert store.query(tmp_path, "SELECT reason FROM runs").rows == [("no file \\udcff",)]


def test_sql_that_is_no_text_is_refused(tmp_path):
    make_run(tmp_path)
    with pytest.raises(StoreError, match="is no text"):
        store.query(tmp_path, "SELECT '\udcff'")


def test_a_lock_that_holds_no_number_still_says_that_the_run_is_another_s(tmp_path, monkeypatch):
    with Run.open(tmp_path, CONFIG):
        (tmp_path / ".lock").write_bytes(b"\xff\n\0")
        with pytest.raises(StoreError, match="is being run by another process"):
            files.refuse_locked(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[]", "5", "null", '{"study": [], "command": [1], "grid": []}', "[" * 10**5,
     '{"study": {"title": 5, "name": {}}, "command": "x", "grid": {"a": {"x": 1}}}'],
)  # fmt: skip
def test_a_study_json_of_another_shape_is_as_good_as_none(tmp_path, content):
    make_run(tmp_path / "named")
    (tmp_path / "named" / "study.json").write_text(content)
    results = api.Results(tmp_path / "named")
    assert results.settings() == [] and api._title(results.folder) == "named"
    assert api._reproduce(results.folder) == "neoteny run named"


# ---- arrays


def zipped(**members):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return bytearray(target.getvalue())


def header(shape="(2,)", descr="'<f8'", content=bytes(16)):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


def test_a_thousand_entries_for_the_same_bytes_are_not_read_a_thousand_times(tmp_path):
    data = zipped(x=header(content=bytes(16) + bytes(10**5)))
    place, end = data.find(b"PK\1\2"), data.rfind(b"PK\5\6")
    copies = data[place:end] * 999
    struct.pack_into("<HHI", data, end + 8, 1000, 1000, end - place + len(copies))
    data[end:end] = copies
    (tmp_path / "checkpoint.npz").write_bytes(data)
    with pytest.raises(StoreError, match=r"it declares 100,0\d\d,000 bytes of arrays, more than"):
        store.read_checkpoint(tmp_path / "checkpoint.npz")


@pytest.mark.parametrize(
    ("shape", "descr", "reason"),
    [
        ("(4000000000, 4000000000)", "'<f8'", "more than any memory"),
        ("(0, 4611686018427387904)", "'<f8'", "more than any memory"),
        ("(1000000,)", "'<f8'", "does not have the bytes"),
        ("(-1, -2)", "'<f8'", "its shape is"),
        ("(2,)", "'|O'", "Python objects"),
        ("(2,)", "[('a', '|O')]", "Python objects"),
        ("(", "'<f8'", "its header is none"),
        ("(2,)", "5", "no valid|not a valid"),
    ],
)
def test_an_array_that_lies_about_itself_is_refused_before_it_is_filled(shape, descr, reason):
    with pytest.raises(ValueError, match=reason):
        npy.parse(header(shape, descr))


def test_a_sound_array_is_read_as_numpy_reads_it():
    for array in (np.arange(6.0).reshape(2, 3).T, np.array("é"), np.ones((2, 0), ">i2")):
        target = io.BytesIO()
        np.save(target, array)
        found = npy.parse(target.getvalue())
        assert (found.dtype, found.shape) == (array.dtype, array.shape) and found.flags.writeable
        np.testing.assert_array_equal(found, array)


def test_a_checkpoint_that_does_not_tell_whether_it_diverged_is_refused():
    for step in ({}, {"diverged_step": np.ones(2, int)}, {"diverged_step": np.array(1.5)}):
        with pytest.raises(UserError, match="does not tell `diverged_step`"):
            checkpoints.diverged(step)
    assert checkpoints.diverged({"diverged_step": np.array(-1)}) is None
    assert checkpoints.diverged({"diverged_step": np.array(7)}) == 7


def test_entries_that_declare_more_than_can_be_squeezed_into_them_are_refused(tmp_path):
    images = header("(10000000, 32, 32, 3)", "'|u1'")
    data = zipped(
        train_images=images, train_labels=header(), test_images=images, test_labels=header()
    )
    place = data.find(b"PK\1\2") + 24
    struct.pack_into("<I", data, place, 10_000_000 * 3072 % 2**32)
    (tmp_path / "own.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"train_images declares [\d,]+ bytes, and has"):
        streams.load("own", folder=tmp_path)


# ---- pictures and archives


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: neoteny[images]")
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return tmp_path / "pictures"


def test_no_picture_makes_pillow_run_another_program(pictures, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it ran a program"))
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    (pictures / "a" / "1.png").write_bytes(text)
    with pytest.raises(DataError, match=r"a/1\.png` is not an image"):
        streams.load(f"folder:{pictures}@8")


def test_a_picture_of_more_pixels_than_its_bytes_can_hold_is_not_decoded(pictures):
    chunk = lambda kind, body: (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
    size = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 6, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (pictures / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + size + body)
    with pytest.raises(DataError, match="declares 9000 x 9000 pixels, and has"):
        streams.load(f"folder:{pictures}@8")


def test_what_was_kept_of_pictures_may_be_any_bytes(pictures):
    streams.load(f"folder:{pictures}@8")
    (kept,) = (pictures.parent / "cache").rglob("train_images.npy")
    for content in (header("(2,)", "'|O'"), header("(99999999999,)"), header("("), b""):
        kept.write_bytes(content)
        with pytest.raises(DataError, match="is damaged"):
            streams.load(f"folder:{pictures}@8")


def test_a_sparse_member_and_one_of_too_many_records_are_refused(tmp_path):
    many = {"GNU.sparse.size": str(3074 * 10**6)}
    sparse = {"GNU.sparse.size": "3074000", "GNU.sparse.map": "0,3074"}
    for headers, reason in ((many, "1,000,000 records"), (sparse, "no whole number of records")):
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
            for member in ("train", "test"):
                entry = tarfile.TarInfo(f"cifar-100-binary/{member}.bin")
                entry.size, entry.pax_headers = 3074, headers
                archive.addfile(entry, io.BytesIO(bytes(3074)))
        with pytest.raises(DataError, match=reason):
            archives.read_cifar("cifar100", [tmp_path / "x.tar.gz"])
