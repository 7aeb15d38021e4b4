"""What docs/trust.md promises: of killed runs, lost power, full disks, rivals, and other places."""

import errno
import fcntl
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import time
import zlib
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import neoteny
import tiny
from campaigns import power
from neoteny import api, cache, lockstep, loop, store
from neoteny.sweep import expand, folder_of

CAMPAIGNS = Path(power.__file__).parent

pytestmark = pytest.mark.usefixtures("compiled_once")


@lru_cache
def _mounts() -> bool:
    """Whether a process may mount a disk that only it sees."""
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        bool(shutil.which("unshare")) and not subprocess.run(words, capture_output=True).returncode
    )


def _campaign(name, *words, before=()):
    done = subprocess.run(
        [*before, sys.executable, str(CAMPAIGNS / name), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ------------------------------------------------------------------ killed, and without power


@pytest.mark.parametrize(
    "kind, kills, tasks",
    [("store", 20, 8), pytest.param("data", 6, 6, marks=pytest.mark.further)],
)
def test_a_run_killed_while_it_writes_ends_with_the_same_bits(kind, kills, tasks):
    said = _campaign("kill.py", "--instants", kills, "--kinds", kind, "--tasks", tasks)
    assert re.search(rf"^kills +{kills} ", said, re.MULTILINE), said
    assert re.search(r"^different +0 ", said, re.MULTILINE), said


@pytest.fixture
def no_flush(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


needs_handles = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="asks Linux for paths"
)


@needs_handles
def test_whatever_a_loss_of_power_leaves_opens_at_the_last_commit_and_ends_the_same(no_flush):
    run = lambda root, done: power.learn(root, 3, 1, done)
    found = power.campaign(run, power.learnt, 1000, random.Random(0))
    assert not found.wrong
    assert found.distinct > 15 and found.later > 0  # both of a commit that was under way


@needs_handles
def test_a_page_is_the_old_or_the_new_one_whenever_power_is_lost(no_flush):
    found = power.campaign(power.write_page, power.written, 1000, random.Random(0))
    assert not found.wrong and found.distinct == 4


@needs_handles
@pytest.mark.parametrize("forgotten", ["content", "folder"])
def test_the_campaign_sees_what_was_not_flushed(forgotten, no_flush, monkeypatch):
    flush = store.files._flush
    kept = lambda path: None if path.is_dir() == (forgotten == "folder") else flush(path)
    monkeypatch.setattr(store.files, "_flush", kept)
    assert power.campaign(power.write_page, power.written, 1000, random.Random(0)).wrong


def test_a_compiled_program_that_was_cut_off_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path))
    place = cache.compiled()
    assert not place.exists()
    place.mkdir()
    whole = zlib.compress(bytes(range(256)))
    written = {"whole": whole, "cut": whole[:-3], "empty": b"", "torn": whole[:9] + bytes(30)}
    written["another's"] = b"\x28\xb5\x2f\xfd and what follows"  # of zstd, which JAX may use
    for name, content in written.items():
        (place / f"{name}-cache").write_bytes(content)
    assert cache.compiled() == place
    assert {path.name for path in place.glob("*-cache")} == {"whole-cache", "another's-cache"}


# ------------------------------------------------------------------ no room, no right


@pytest.mark.skipif(not _mounts(), reason="may not mount a disk here")
def test_a_run_on_a_disk_that_fills_up_anywhere_says_so_and_goes_on_when_there_is_room():
    said = _campaign("full.py", "--tasks", 2, "--spectra", 1, before=["unshare", "-rm"])
    assert " 0 different" in said and "tasks.parquet" in said and "checkpoint.npz" in said


def test_a_file_cut_off_at_any_byte_takes_no_ones_place(tmp_path, no_flush):
    whole, folder = tmp_path / "whole", tmp_path / "cut"
    learn = partial(power.learn, tasks=3, spectra=1, done=lambda value: None)
    learn(whole)
    learn_until = lambda value: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        power.learn(folder, tasks=3, spectra=1, done=learn_until)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    for limit in range(1, largest - 1, largest // 20):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(store.StoreError, match="cannot be written: "):
                learn(folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(folder.rglob("*.tmp"))
    learn(folder)
    assert power.content(folder) == power.content(whole)


PRINTED = textwrap.dedent(
    """
    import contextlib, io, subprocess, sys
    from pathlib import Path
    from neoteny import cli

    runs, disk = map(Path, sys.argv[1:])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    names = ["r.html", "l.html", "t.csv", "t.parquet", "t.tex", "figures/labels-accuracy.png"]
    (disk / "figures").mkdir()
    for name in names:
        (disk / name).write_text("before")
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    commands = [
        ["report", runs, "--out", disk / "r.html"],
        ["leaderboard", runs, "--out", disk / "l.html"],
        *(["export", runs, "--out", disk / name] for name in names[2:5]),
    ]

    def call(words):
        sys.argv, said = ["neoteny", *map(str, words)], io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                cli.main()
            except SystemExit as end:
                return end.code, said.getvalue()

    for words in commands:
        code, said = call(words)
        assert code == 2 and "No space left on device" in said, (words, code, said)
        assert said.startswith("neoteny: ") and said.count(chr(10)) == 1, said
    from neoteny import report, store
    try:
        report.save_figures(store.connect(runs), disk / "figures", formats=("png",))
    except store.StoreError as error:
        assert "labels-accuracy.png` cannot be written: No space left" in str(error)
    else:
        raise AssertionError("there was room")
    assert {(disk / name).read_text() for name in names} == {"before"}
    assert not list(disk.rglob("*.tmp"))
    """
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, compiled_once):
    """A small study that is done."""
    return neoteny.run(tiny.study(), out=tmp_path_factory.mktemp("finished")).folder


@pytest.mark.skipif(not _mounts(), reason="may not mount a disk here")
def test_a_page_figure_or_table_that_finds_no_room_leaves_what_was_there(finished, tmp_path):
    words = ["unshare", "-rm", sys.executable, "-c", PRINTED, str(finished), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_what_cannot_be_printed_for_lack_of_room_is_told(finished, scratch):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            tiny.command("query", finished, "FROM runs"),
            stdout=full, stderr=subprocess.PIPE, text=True, env=tiny.environment(scratch),
        )  # fmt: skip
    said = "neoteny: `standard output`: No space left on device. Name another place.\n"
    assert (done.returncode, done.stderr) == (2, said)


# ------------------------------------------------------------------ others at the same folder


def test_of_two_sweeps_that_start_at_once_neither_loses_the_others_grid(tmp_path):
    from neoteny.grid import Point

    study = tiny.study()
    point = lambda place: {f"labels-{place}": Point("labels", {"lr": f"0.{place}"})}
    sweeps = [
        threading.Thread(target=api.remember, args=(study, tmp_path, point(place)))
        for place in range(8)
    ]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    assert len(json.loads((tmp_path / "study.json").read_text())["grid"]) == 8


def test_a_file_system_without_locks_is_read_but_not_written(tmp_path, monkeypatch):
    config = dict(study="s", stream="a", method="bp", seed=0, tasks=2)
    with store.Run.open(tmp_path, config) as run:
        run.append({})
        run.commit({}, seconds=1.0, microseconds_per_step=None)

    def flock(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    for attempt in (store.Run.open, store.check):
        with pytest.raises(store.StoreError, match=r"a file system without locks \(No locks ava"):
            attempt(tmp_path, config)
    assert store.status(tmp_path)[0]["status"] == "interrupted"
    assert store.query(tmp_path, "SELECT count(*) FROM tasks").rows == [(1,)]


# ------------------------------------------------------------------ other places, other hours


@pytest.fixture(scope="module")
def begun(tmp_path_factory, compiled_once):
    """The same study, stopped after its second task of three."""
    out = tmp_path_factory.mktemp("begun")
    (config,) = expand(tiny.study())

    def stop(done, value):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "COMMIT_SECONDS", 0.0)
        loop.run(config, folder_of(out, config), on_task=stop)
    return out


def _elsewhere(begun, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path / "another machine's disk")
    return tmp_path / "another machine's disk"


def _through_a_link(begun, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(_elsewhere(begun, tmp_path, monkeypatch))
    return tmp_path / "link"


def _backwards(begun, tmp_path, monkeypatch):
    """The clock goes an hour back at every look, and files come from the past and the future."""
    out, hours = _elsewhere(begun, tmp_path, monkeypatch), iter(range(10**6))
    for place, path in enumerate(sorted(out.rglob("*"))):
        os.utime(path, (10**9 * (1 + 2 * (place % 2)),) * 2)
    monkeypatch.setattr(time, "time", lambda: 1.8e9 - 3600 * next(hours))
    return out


@pytest.mark.parametrize("where", [_elsewhere, _through_a_link, _backwards])
def test_a_run_goes_on_elsewhere_and_by_any_clock_as_if_nothing_had_been(
    begun, finished, tmp_path, monkeypatch, where
):
    out = where(begun, tmp_path, monkeypatch)
    assert store.status(out)[0]["tasks_done"] == 2
    results = neoteny.run(tiny.study(), out=out)
    assert [outcome.status for outcome in results.outcomes] == ["finished"]
    assert tiny.contents(out) == tiny.contents(finished)
    assert results.query("SELECT count(*) FROM tasks").rows == [(3,)]


# ------------------------------------------------------------------ what grows with the tasks


def test_commits_that_take_long_are_fewer(tmp_path, monkeypatch):
    (config,) = expand(tiny.study(tasks=40, probes__spectrum_every=0, probes__fresh_every=0))
    now, commits, commit = [0.0], [], store.Run.commit

    def slow(run, *arguments, **options):
        commits.append(run.tasks_done)
        commit(run, *arguments, **options)
        now[0] += 0.2

    def second(done, value):
        now[0] += 1.1

    monkeypatch.setattr(store.Run, "commit", slow)
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(lockstep, "time", clock)
    loop.run(config, tmp_path, on_task=second)
    assert commits == [2, 12, 22, 32, 40]  # ten seconds for commits of a fifth of one
