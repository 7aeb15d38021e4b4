"""Imports go one way, and importing neoteny costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neoteny

SOURCE = Path(neoteny.__file__).parent

FLOORS = [
    {"errors", "cache", "types", "glossary", "lanes", "npy", "programs"},
    {
        "config",
        "statistics",
        "networks",
        "streams",
        "curvature",
        "losses",
        "store",
        "lockstep",
        "branches",
        "tables",
    },
    {"probes", "comparison"},
    {"interventions"},
    {"methods", "training", "measuring", "monitor", "checkpoints"},
    {"machine"},
    {"rl"},
    {"loop", "plugins", "estimate"},
    {"sweep", "studies", "diagnosis", "episodes"},
    {"report", "cluster"},
    {"grid", "claims"},
    {
        "api",
        "catalogue",
        "explanation",
        "export",
        "live",
        "progress",
        "planning",
        "slurm",
        "trackers",
    },
    {"tuning"},
    {"cli"},
]
"""Lowest first. A part may import what lies below it, never beside or above it."""

BESIDE = {("losses", "networks"), ("methods", "networks")}
FREE_OF_JAX = {
    "errors", "cache", "npy", "config", "statistics", "comparison", "store", "report", "studies",
    "sweep", "cluster", "export", "live", "tables", "trackers",
}  # fmt: skip
HEAVY = ("jax", "numpy", "optax", "duckdb", "plotly", "matplotlib", "sklearn", "pydantic", "rich")

FILES = sorted(SOURCE.rglob("*.py"))


def _part(path: Path) -> str:
    """The part of the package that a file belongs to: a folder or a file of its top level."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it but for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _parts_imported(path: Path) -> set[str]:
    """The parts of neoteny that a file imports, its own left out."""
    names = {name.split(".")[1] for name in _imports(path) if name.startswith("neoteny.")}
    return {name for name in names if name in set().union(*FLOORS)} - {_part(path)}


def _floor(part: str) -> int:
    return next(level for level, parts in enumerate(FLOORS) if part in parts)


def test_every_part_of_the_package_has_its_floor():
    parts = {_part(path) for path in FILES} - {"__init__"}
    assert parts == set().union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_from_floors_below_its_own(path):
    part = _part(path)
    if part == "__init__":
        return
    wrong = {
        other
        for other in _parts_imported(path)
        if _floor(other) >= _floor(part) and (part, other) not in BESIDE
    }
    assert not wrong


@pytest.mark.parametrize("part", sorted(FREE_OF_JAX))
def test_what_need_not_know_jax_does_not_import_it(part):
    for path in FILES:
        if _part(path) == part:
            assert not {name for name in _imports(path) if name.split(".")[0] == "jax"}


@pytest.mark.parametrize("package", ["networks", "streams", "curvature", "probes", "store"])
def test_packages_are_entered_by_their_front_door(package):
    """Users of a package import what its `__init__` lists, so that its files are free to move."""
    inside = {path.stem for path in (SOURCE / package).glob("*.py")}
    for path in FILES:
        if _part(path) == package:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & {f"neoteny.{package}.{name}" for name in inside}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def _loaded_by(code: str) -> set[str]:
    """Top-level modules in a new process after `code`."""
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(answer.stdout.split("\n")[-2].split())


def test_importing_neoteny_loads_nothing_heavy():
    assert not _loaded_by("import neoteny") & {*HEAVY, "typer"}


def test_the_help_of_the_command_line_loads_nothing_that_computes():
    code = (
        "import contextlib, io\nfrom neoteny.cli import main\nsys.argv = ['neoteny', '--help']\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main()"
    )
    assert not _loaded_by(code) & ({*HEAVY} - {"rich"})


def test_reading_and_reporting_load_no_jax():
    assert "jax" not in _loaded_by("import neoteny.store, neoteny.report, neoteny.studies")


def test_every_public_name_of_the_package_is_there_and_a_wrong_one_is_named():
    for name in (*neoteny._PARTS, *neoteny._NAMES):
        assert getattr(neoteny, name) is not None
        assert name in dir(neoteny)
    assert neoteny.curvature.cost.plan  # as `docs/cost.md` calls it
    with pytest.raises(AttributeError, match="'nonsense'"):
        neoteny.nonsense  # noqa: B018
