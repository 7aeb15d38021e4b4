"""The documentation site: built strictly, complete, and asking no other host for anything."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import neoteny
import pages

pytestmark = pytest.mark.further  # links and code are checked without it

PARTS = [*neoteny._PARTS, "comparison", "monitor"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, as `make docs` builds it, which fails at any warning."""
    folder = tmp_path_factory.mktemp("site")
    source = os.pathsep.join([str(pages.ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=pages.ROOT,
        env=os.environ | {"PYTHONPATH": source, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_on_the_site(site):
    for page in pages.PAGES:
        place = pages.name(page).removeprefix("docs/").replace(".md", ".html")
        fronts = {"README.html": "index.html", "CONTRIBUTING.html": "contributing.html"}
        assert (site / fronts.get(place, place)).is_file(), page


def test_nothing_on_the_site_is_fetched_from_elsewhere(site):
    link = r"""<link[^>]*href="(?:https?:)?//"""
    fetched = re.compile(r"""(?:src=|url\(|@import )["']?(?:https?:)?//|""" + link)
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not fetched.search(path.read_text(encoding="utf-8")), path


def test_formulas_are_drawn_by_the_browser_itself(site):
    theory = (site / "theory.html").read_text(encoding="utf-8")
    assert theory.count("<math") > 200
    shown = re.sub(r"<(code|annotation|script).*?</\1>", "", theory, flags=re.DOTALL)
    assert not re.findall(r"\$[^$\n]{1,80}\$|\\(?:frac|lambda|top|begin)\b", shown)


@pytest.mark.parametrize("part", PARTS)
def test_every_public_name_has_its_place_in_the_reference(site, part):
    page = (site / "api" / f"{part}.html").read_text(encoding="utf-8")
    module = importlib.import_module(f"neoteny.{part}")
    names = getattr(module, "__all__", None) or [
        name
        for name, member in vars(module).items()
        if not name.startswith("_") and getattr(member, "__module__", None) == module.__name__
    ]
    apart = {"cost", "leaderboard"}  # files of functions of their own
    missing = [name for name in names if f'id="neoteny.{part}.{name}"' not in page]
    assert not set(missing) - apart


def test_the_fields_of_a_study_are_all_in_their_table(site):
    page = (site / "api" / "config.html").read_text(encoding="utf-8")
    for model in (neoteny.Study, neoteny.Setting):
        assert all(f"<code>{name}</code>" in page for name in model.model_fields)
    assert "fields -->" not in page


def test_the_examples_are_on_the_site(site):
    for path in (pages.ROOT / "examples").iterdir():
        if path.suffix in (".py", ".toml", ".ipynb"):
            assert (site / "examples" / f"{path.stem}.html").is_file(), path
    assert (site / "examples" / "plasticity.ipynb").is_file()
    assert not list(Path(site).rglob("*.py"))
