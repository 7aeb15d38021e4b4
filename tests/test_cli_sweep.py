"""Sweeps as typed: grids, parts, a job array, and places to run at."""

import json
import re
import shlex

import pytest

import tiny
from neoteny import api

pytestmark = pytest.mark.usefixtures("compiled_once")

QUICK = [f"--set=probes.{name}" for name in ("spectrum_every=0", "fresh_every=0", "names=[]")]
GRID = ("--grid", "lr=0.01,0.001", "--jobs", 1, *QUICK)


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(tiny.TOML)
    return path.name


@pytest.fixture
def told(monkeypatch):
    """What `run_all` is asked for, here and on Ray; nothing is run."""
    asked = []
    for place in (api.sweep, api.cluster):
        told = lambda runs, out, *, place=place, **options: asked.append((place, options)) or []
        monkeypatch.setattr(place, "run_all", told)
    return asked


def _streams(folder):
    return sorted(json.loads(path.read_text())["config"]["stream"] for path in folder)


def test_a_grid_in_parts_does_every_combination_once_and_names_the_best(call, study, tmp_path):
    runs = lambda: list((tmp_path / "out").rglob("run.json"))
    assert call("sweep", study, "--out", "out", *GRID, "--part", "0/2").code == 0
    first = _streams(runs())
    assert call("sweep", study, "--out", "out", *GRID, "--part=1/2").code == 0
    both = _streams(runs())
    assert len(first) == 1 and len(both) == 2 and first[0] in both
    answer = call("sweep", study, "--out", "out", *GRID, "--format", "json")
    assert (answer.code, answer.err) == (0, "")
    settings = json.loads(answer.out)["settings"]
    assert sorted(str(row["lr"]) for row in settings) == ["0.001", "0.01"]
    typed = json.loads((tmp_path / "out/study.json").read_text())["command"]
    assert typed[:2] == ["sweep", study] and "--part" not in " ".join(typed)


def test_a_job_array_of_a_grid_is_printed_and_nothing_is_run(call, study, tmp_path):
    answer = call("sweep", study, "--on", "slurm", *GRID, "--parts", 9)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("#!/bin/bash\n")
    assert "#SBATCH --array=0-1\n" in answer.out  # as many as there are runs
    last = answer.out.rstrip().splitlines()[-1]
    words = shlex.join(["sweep", study, "--grid", "lr=0.01,0.001", *QUICK])
    assert last.endswith(f'/neoteny {words} --jobs 1 --part "$SLURM_ARRAY_TASK_ID/2"')
    assert [path.name for path in tmp_path.iterdir()] == [study]


def test_runs_go_to_ray_with_as_many_workers_as_were_asked_for(call, study, told):
    for words in ((), ("--jobs", 3)):
        assert call("run", study, "--on", "ray", "--out", "out", *words).code == 0
    assert call("run", study, "--on", "head:6379", "--out", "out").code == 0
    assert call("run", study, "--jobs", 3, "--out", "out").code == 0
    assert [place for place, _ in told] == [api.cluster] * 3 + [api.sweep]
    asked = [(options.get("on"), options["jobs"]) for _, options in told]
    assert asked == [("ray", None), ("ray", 3), ("head:6379", None), (None, 3)]


BAD = {
    "unknown place": (["--on", "pbs"], "`--on` is 'pbs'"),
    "ray without a port": (["--on", "ray://head"], "ray://HOST:PORT"),
    "nobody there": (["--on", "127.0.0.1:1"], "no Ray can be joined at 127.0.0.1:1"),
    "seeds in one process, on Ray": (["--on", "ray", "--together"], "`--together` puts all"),
    "an estimate for cores unknown": (["--on", "ray", "--estimate"], "pass their number"),
    "parts without an array": (["--parts", 3], "`--parts` is 3, but goes with `--on slurm`"),
    "one part of an array": (["--on", "slurm", "--part", "0/2"], "leave it out"),
    "no jobs in an array": (["--on", "slurm", "--parts", 0], "`parts` is 0"),
    "part that is none": (["--part", "2/2"], "`--part` is 2/2, but parts are counted from 0"),
    "part without a whole": (["--part", "2"], "`--part` is '2', but takes I/N"),
    "more parts than runs": (["--part", "1/2"], "there are only 1 runs"),
    "grid without values": (["--grid", "lr"], "`--grid` is 'lr'"),
    "grid of a field twice": (["--grid", "lr=1", "--grid", "lr=2"], "names a field twice"),
    "grid of no field": (["--grid", "learnin_rate=1"], "learnin_rate"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_swept_gets_one_sentence_and_status_2(call, study, tmp_path, name):
    words, said = BAD[name]
    answer = call("sweep", study, "--out", "out", *words)
    assert (answer.code, answer.out) == (2, "")
    assert re.fullmatch(rf"neoteny: [^\n]*{re.escape(said)}[^\n]*\n", answer.err)
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.further
def test_ray_starts_and_ends_with_the_command_and_adds_nothing_to_what_it_prints(
    scratch, study, tmp_path
):
    """As a person types it, in a process of its own: only that has a standard output for Ray."""
    words = ("run", study, "--on", "ray", "--out", "out", "--format", "json")
    answer = tiny.neoteny(scratch, *words, cwd=tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["methods"]
