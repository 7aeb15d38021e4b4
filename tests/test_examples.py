"""The examples do what they say: each runs as its first lines tell a reader to run it."""

import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from neoteny.store import query
from neoteny.studies import load

EXAMPLES = Path(__file__).parent.parent / "examples"

PLUGINS = {
    "own_method": (["--methods", "norm_cap"], "SELECT DISTINCT method FROM tasks", "norm_cap"),
    "own_stream": (
        ["--set", "stream.rule=hidden-square"],
        "SELECT DISTINCT config ->> '$.setting.stream.rule' FROM runs",
        "hidden-square",
    ),
    "own_probe": (
        ["--set", 'probes.names=["confidence"]'],
        "SELECT count(*) FILTER (confidence BETWEEN 0.1 AND 1 AND largest_output > 0) FROM tasks",
        3,
    ),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_adds_its_member_to_the_command_line(scratch, tmp_path, name):
    words, sql, expected = PLUGINS[name]
    study = tmp_path / "tiny.toml"
    study.write_text(tiny.TOML)
    lean = ["--set", "probes.spectrum_every=0", "--set", "probes.fresh_every=0"]
    options = ["--plugin", EXAMPLES / f"{name}.py", "--out", tmp_path / "out", "--jobs", 1]
    done = tiny.neoteny(scratch, "run", study, *options, *lean, *words)
    assert done.returncode == 0, done.stderr
    assert query(tmp_path / "out", sql).rows == [(expected,)]


def test_ten_lines_do_the_whole_job(scratch, tmp_path):
    """As it stands, on small networks: what is smaller is put in front of it, not into it."""
    smaller = """
        import runpy, neoteny.api
        whole = neoteny.api.run
        def run(study, *, changes, **options):
            small = {"network.widths": [8, 8], "stream.rows": 60, "training.epochs": 1}
            few = {"probes.spectrum_rows": 20, "probes.spectrum_steps": 6}
            return whole(study, changes=changes | small | few, **options)
        neoteny.api.run = run
        runpy.run_path({path!r}, run_name="__main__")
    """
    lines = [line.removeprefix(" " * 8) for line in smaller.strip("\n").splitlines()]
    code = "\n".join(lines).replace("{path!r}", repr(str(EXAMPLES / "ten_lines.py")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=tiny.environment(scratch, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.splitlines()[-1])
    assert (tmp_path / report).stat().st_size > 10_000
    assert "l2_er keeps accuracy and spectrum" in done.stdout


def test_the_studies_among_the_examples_are_studies():
    for path in EXAMPLES.glob("*.toml"):
        assert load(str(path)).streams
