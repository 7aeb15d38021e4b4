"""The notebook of the examples runs from top to bottom, and is stored without what it printed."""

import json
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import tiny

EXAMPLE = Path(__file__).parent.parent / "examples" / "plasticity.ipynb"
SMALL = {
    "parameters": """
study, methods, seeds = "tiny.toml", ["bp", "l2_er"], 1
changes = {"hyperparameters.l2_er.every": 2, "probes.names": ["units"]}
stream, out = "labels", "runs/notebook"
""",
    "loop": ("lives, steps, rate = 12, 400,", "lives, steps, rate = 2, 5,"),
}
"""What the cells of this tag are replaced by, or what in them."""


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(EXAMPLE, as_version=4)


def test_the_notebook_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert len(notebook.cells) > 1.5 * len(code)  # it has words between the cells


def test_the_notebook_runs_and_shows_curves_tables_a_verdict_and_a_diagnosis(
    notebook, tmp_path, scratch, monkeypatch
):
    (tmp_path / "tiny.toml").write_text(tiny.TOML)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = SMALL["parameters"]
        if "loop" in cell.metadata.get("tags", ()):
            before, after = SMALL["loop"]
            assert before in cell.source
            cell.source = cell.source.replace(before, after)
    for name, value in tiny.environment(scratch).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    source = str(Path(tiny.__file__).parent.parent / "src")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # an error in a cell is one of this test
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.data for output in outputs if output.output_type != "stream"]
    assert sum("image/png" in data for data in shown) == 3
    tables = "".join(data.get("text/markdown", "") for data in shown)
    assert "bp loses plasticity" in tables and "| bp | 0 |" in tables
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "task  1: " in printed and "measured (over the reference)" in printed
    assert not any(output.get("name") == "stderr" for output in outputs), json.dumps(outputs)
