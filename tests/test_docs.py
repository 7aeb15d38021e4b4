"""The pages: their code runs, and what they name is there."""

import ast
import inspect
import re
from pathlib import Path

import neoteny

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
TABLE = PAGE.split("## Trainability")[0]


def test_the_code_on_extending_runs_from_top_to_bottom(capsys):
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(code, "docs/extending.md", "exec"), {"__name__": "page"})
    shares = re.search(r"(\S+) of it lies within", capsys.readouterr().out)
    assert shares and 0 < float(shares[1]) <= 1


def test_an_environment_of_ones_own_is_learnt_as_its_page_says(capsys, monkeypatch, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "agents.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    try:
        exec(compile(code, "docs/agents.md", "exec"), {"__name__": "page"})
    finally:
        neoteny.rl.ENVIRONMENTS.pop("corridor", None)
    tasks = ast.literal_eval(capsys.readouterr().out)
    assert [task for task, *_ in tasks] == [0, 1]
    assert tasks[0][1] > 0.8
    (study,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "poles.toml").write_text(study)
    assert neoteny.studies.load("poles.toml").streams["heavier"].agent.kind == "ppo"


def test_every_function_the_table_names_is_there_and_in_its_row():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")]
    named = {}
    for row in rows:
        for part, name in re.findall(r"`(probes|curvature)\.(\w+)`", row):
            named[part, name] = row
    for (part, name), row in named.items():
        function = getattr(getattr(neoteny, part), name)
        takes = list(inspect.signature(function).parameters) if callable(function) else []
        assert ("network" in takes) == row.startswith("| a `Network`"), name
        assert ("spectrum" in takes) == row.startswith("| a spectrum"), name


def test_the_table_names_every_function_that_needs_a_network():
    for part in (neoteny.probes, neoteny.curvature):
        for name in part.__all__:
            member = getattr(part, name)
            if inspect.isfunction(member) and "network" in inspect.signature(member).parameters:
                assert f"{part.__name__.removeprefix('neoteny.')}.{name}" in TABLE
