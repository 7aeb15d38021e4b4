"""The glossary knows every number that is measured, and the page is what it says."""

import inspect
from pathlib import Path

import pytest

import neoteny
import tiny
from neoteny import catalogue, glossary
from neoteny.probes import PROBES
from neoteny.store import query

PAGE = Path(__file__).parent.parent / "docs" / "probes.md"


@pytest.mark.parametrize("name", PROBES)
def test_every_number_of_a_probe_is_explained_under_its_name(name):
    fields = inspect.signature(PROBES[name], eval_str=True).return_annotation._fields
    assert {entry.name for entry in glossary.GROUPS[name].entries} == set(fields)
    (row,) = [row for row in catalogue.members("probes") if row["name"] == name]
    assert row["columns"] == ", ".join(fields)
    assert row["what"] == glossary.GROUPS[name].what


def test_every_column_of_every_table_is_explained(tmp_path, compiled_once):
    study = tiny.study(probes__names=[*PROBES], probes__start_names=["units"], tasks=1)
    neoteny.run(study, out=tmp_path)
    tables = ("tasks", "runs", "spectra")
    columns = {name for table in tables for name in query(tmp_path, f"FROM {table}").columns}
    assert {"hessian_rank_start_se", "ggn_max_end", "dead_1_start", "dead_1"} <= columns
    unknown = sorted(name for name in columns if glossary.entry(name) is None)
    assert not unknown, f"explain {unknown} in neoteny/glossary.py"


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("hessian_budget_rank_start_se", "hessian_budget_rank"),
        ("dead_12_start", "dead"),
        ("ntk_rank_99_start", "ntk_rank_99"),
        ("fresh_accuracy", "fresh_accuracy, fresh_online_accuracy, fresh_heldout_accuracy"),
        ("confidence", None),
    ],
)
def test_a_column_is_looked_up_without_its_endings(column, name):
    found = glossary.entry(column)
    assert (found and found.name) == name


def test_every_entry_says_what_it_measures_and_in_which_unit():
    for key, group in glossary.GROUPS.items():
        assert group.what.endswith(".")
        for entry in group.entries:
            assert entry.meaning
            assert key == "runs" or (entry.unit and entry.formula)


def test_the_page_is_what_the_glossary_says():
    said = glossary.document()
    assert PAGE.read_text(encoding="utf-8") == said, "python -m neoteny.glossary > docs/probes.md"
