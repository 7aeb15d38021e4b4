"""The examples do what they say: each runs as its first lines tell a reader to run it."""

import runpy
import sys
from pathlib import Path

import pytest

import tiny
from neoteny import cli
from neoteny.methods import METHODS
from neoteny.probes import PROBES
from neoteny.store import query
from neoteny.streams import STREAMS
from neoteny.studies import STUDIES, load

pytestmark = pytest.mark.usefixtures("compiled_once")

EXAMPLES = Path(__file__).parent.parent / "examples"

PLUGINS = {
    "own_method": (
        (METHODS, "norm_cap"),
        ["--methods", "norm_cap", "--set", "hyperparameters.norm_cap.period=2"],
        "SELECT DISTINCT method FROM tasks",
        "norm_cap",
    ),
    "own_stream": (
        (STREAMS, "hidden-square"),
        ["--set", "stream.rule=hidden-square"],
        "SELECT DISTINCT config ->> '$.setting.stream.rule' FROM runs",
        "hidden-square",
    ),
    "own_probe": (
        (PROBES, "confidence"),
        ["--set", 'probes.names=["confidence"]'],
        "SELECT count(*) FILTER (confidence BETWEEN 0.1 AND 1 AND largest_output > 0) FROM tasks",
        3,
    ),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_adds_its_member_to_the_command_line(tmp_path, monkeypatch, scratch, name):
    (members, added), words, sql, expected = PLUGINS[name]
    monkeypatch.setitem(members, added, None)  # what the file adds goes again with this test
    for variable, value in tiny.environment(scratch).items():
        monkeypatch.setenv(variable, value)
    study = tmp_path / "tiny.toml"
    study.write_text(tiny.TOML)
    lean = ["--set", "probes.spectrum_every=0", "--set", "probes.fresh_every=0"]
    options = ["--plugin", EXAMPLES / f"{name}.py", "--out", tmp_path / "out", "--jobs", 1]
    words = ["neoteny", "run", study, *options, *lean, *words]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    assert query(tmp_path / "out", sql).rows == [(expected,)]


def test_ten_lines_do_the_whole_job(tmp_path, monkeypatch, capsys):
    """As they stand, on a small study in the place of the one they name."""
    small = tiny.study(hyperparameters__l2_er__every=2)
    monkeypatch.setitem(STUDIES, "spectral-collapse-digits", small)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "ten_lines.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert any("l2_er keeps accuracy and spectrum" in line for line in lines)
    assert "<html" in (tmp_path / lines[-1]).read_text()


def test_the_studies_among_the_examples_are_studies():
    for path in EXAMPLES.glob("*.toml"):
        assert load(str(path)).streams
