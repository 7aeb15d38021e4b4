"""What the pages show works: every block of code, on every page, from top to bottom.

Python runs as it stands. A command of `neoteny` runs as it is typed, in this process and in one
folder for all pages, by one rule: a study is planned at the size that was asked for, so that a
wrong name or an impossible value is found, and learnt at a very small one. What is too large even
then is planned alone, and what reads its runs reads a stand-in's; of a sweep every third run is
learnt. A block of TOML is a study. The tables say what is left out, and why.
"""

import ast
import csv
import json
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest
import typer

import neoteny
import pages
import tiny
from neoteny import api, claims, cli, studies, tuning

pytestmark = pytest.mark.usefixtures("compiled_once")

ELSEWHERE = {
    "git clone": "fetches this repository",
    "cd neoteny": "which is where the pages are read",
    "make": "makes an environment of its own; the targets are checked to be there",
    "uv": "makes an environment of its own",
    "python3 -m venv": "makes an environment of its own",
    ".venv/bin/": "of that environment",
    ".ci/run": "runs these tests",
    "python docs/": "one is run below, and all are checked to be there",
    "pip install": "packages",
    "ray start": "a cluster of several machines; tests/test_cluster.py has one of processes",
    "python benchmarks/": "measures for minutes; checked to be there",
}
"""Commands that cannot run here, and why."""

PARSED = {
    "neoteny watch": "serves until it is stopped; tests/live asks it",
    "neoteny export runs/my-study --to wandb": "a service; tests/trackers waits",
    "neoteny export runs/my-study --to mlflow": "a database; tests/trackers waits",
    "neoteny run spectral-collapse-digits --on head:6379": "in tests/test_cluster.py",
    "neoteny probe runs/": "half a minute; tests/test_diagnosis.py follows it",
    "neoteny report runs/short --figures": "half a minute; tests/report/test_figures.py draws them",
}
"""Commands of which only the words and options are checked, and why."""

PLANNED = {
    "examples/permuted_mnist.toml": "needs MNIST",
    "examples/incremental_digits.toml": "a residual network by five methods",
    "permuted-mnist": "needs MNIST",
    "continual-imagenet": "needs Tiny ImageNet",
    "incremental-cifar": "needs CIFAR-100",
    "what-predicts-plasticity": "needs MNIST; 120 runs",
    "early-warning": "needs MNIST; 120 runs",
    "continual-cartpole": "30 agents",
    "slippery-ant": "needs MuJoCo; 21 agents",
}
"""Studies that are only planned, and why."""

GIVEN = {
    "README.md": """
import jax, jax.numpy as jnp
init = lambda key: {"kernel": jax.random.normal(key, (20, 5))}
params, batch = init(jax.random.key(1)), (jnp.eye(20), jnp.arange(20) % 5)
loss_fn = lambda params, batch: -jnp.mean(
    jax.nn.log_softmax(batch[0] @ params["kernel"])[jnp.arange(20), batch[1]])
""",
    "docs/cost.md": """
import jax, jax.numpy as jnp, numpy as np
from neoteny import curvature
mesh = jax.sharding.Mesh(np.array(jax.devices()), ("devices",))
spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))
key, params = jax.random.key(0), jax.device_put({"kernel": jnp.ones((8, 8))}, spread)
loss = lambda params: jnp.sum(params["kernel"] ** 2)
""",
}
"""What a page speaks of as the reader's own."""


def test_words_of_commands_are_parted_as_a_shell_does():
    text = "a b \\\n  --c 'd\n  e'   # why\n\nf && g\n"
    assert pages.commands(pages.Block("sh", text, 1)) == [["a", "b", "--c", "d\n  e"], ["f"], ["g"]]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """The folder in which all pages are followed."""
    folder = tmp_path_factory.mktemp("desk")
    for part in ("examples", "docs", "benchmarks"):
        (folder / part).symlink_to(pages.ROOT / part)
    return folder


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory, compiled_once):
    """Runs with the columns that pages ask of runs which take too long here."""
    names = ["units", "ranks", "ntk"]
    study = tiny.study(probes__start_names=names, probes__spectrum_every=1)
    out = tmp_path_factory.mktemp("stand-in") / "runs"
    with as_users_have_it():
        neoteny.run(study, out=out)
    return out


def _is_of_a_claim(words):
    """Claims take half a minute even at their smallest; tests/claims measures them."""
    return words[1:2] == ["run"] and words[2:3] in [[name] for name in (*claims.NAMES, claims.ALL)]


@contextmanager
def as_users_have_it():
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        yield


def small(study):
    """The first stream of a study, and if it learns from images what takes seconds of it."""
    data = study.model_dump()
    data["streams"] = dict([*data["streams"].items()][:1])
    for setting in data["streams"].values():
        if setting["agent"] is None:
            setting["tasks"] = min(setting["tasks"], 6)
            setting["stream"]["rows"] = 60
            setting["network"]["widths"] = (8, 8)
            setting["training"] |= {"epochs": 1, "batch": 10}
            cadences = {"every": 1, "fresh_every": 5, "spectrum_every": 5}
            spectrum = {"spectrum_rows": 20, "spectrum_steps": 6, "spectrum_probes": 2}
            setting["probes"] |= {"rows": 20, **cadences, **spectrum}
            for method in ("er", "l2_er"):
                setting["hyperparameters"].setdefault(method, {})["every"] = 3
    return studies.Study.model_validate(data | {"seeds": 1})


@pytest.fixture
def at_the_desk(desk, stand_in, monkeypatch, scratch):
    """Commands and code run at the desk, studies small."""
    run, estimate, plan, tune = api.run, api.estimate, api.plan, tuning.tune
    choices = ("scale", "protocol", "methods", "seeds", "changes")

    def planned(study, asked):
        full = plan(study, **{name: asked.pop(name, None) for name in choices})
        api.runs_of(full, asked.get("grid"), asked.get("part", (0, 1)))
        return full, str(study) in PLANNED

    def run_small(study, **asked):
        full, too_large = planned(study, asked)
        if not too_large:
            some = {"part": (0, 3)} if asked.get("grid") else {}
            return run(small(full), **asked | {"jobs": 1} | some)
        folder = Path(asked.get("out") or Path("runs") / full.name)
        if not folder.exists():
            shutil.copytree(stand_in, folder)
        return api.Results(folder)

    def estimate_small(study, **asked):
        full, too_large = planned(study, asked)
        return estimate(tiny.study() if too_large else small(full), **asked | {"jobs": 1})

    def tune_small(study, **asked):
        full = plan(study, **{name: asked.pop(name, None) for name in choices if name != "seeds"})
        smaller = {"trials": 1, "seeds": 1, "jobs": 1, "methods": full.methods[:1]}
        return tune(small(full), **asked | smaller)

    for variable, value in tiny.environment(scratch).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("NEOTENY_CACHE", str(scratch / "cache"))
    monkeypatch.setattr(api, "run", run_small)
    monkeypatch.setattr(api, "estimate", estimate_small)
    monkeypatch.setattr(tuning, "tune", tune_small)

    monkeypatch.chdir(desk)
    with as_users_have_it():
        yield desk


@pytest.fixture(scope="module")
def typed():
    """The commands of all pages so far."""
    return set()


COMMANDS = typer.main.get_command(cli.app).commands
SHOWN = [page for page in pages.PAGES if pages.blocks(page)]


@pytest.mark.parametrize("page", SHOWN, ids=pages.name)
def test_what_a_page_shows_works(page, at_the_desk, typed, capsys, monkeypatch):
    """What was typed on an earlier page is not typed again."""
    names, printed = {"__name__": "page"}, []
    exec(GIVEN.get(pages.name(page), ""), names)
    for block in pages.blocks(page):
        place = f"{pages.name(page)}, line {block.line}"
        if block.language == "python":
            capsys.readouterr()
            exec(compile(block.text, place, "exec"), names)
            printed.append(capsys.readouterr().out)
        elif block.language == "sh":
            for words in pages.commands(block):
                type_in(words, place, typed, monkeypatch)
        elif block.language == "toml":
            study(block, at_the_desk)
        else:
            assert block.language == "text", f"{place}: nobody knows how to check this"
    if check := SAID.get(pages.name(page)):
        check(printed)


def type_in(words, place, typed, monkeypatch):
    """Do what a person at the desk would see done."""
    said = " ".join(words)
    if said in typed:
        return
    typed.add(said)
    if said.startswith(tuple(PARSED)) or _is_of_a_claim(words):
        COMMANDS[words[1]].make_context(words[1], words[2:])
        return
    if words[0] == "neoteny":
        monkeypatch.setattr(sys, "argv", words)
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, f"{place}: `{said}` ends with {end.code}"
        return
    assert said.startswith(tuple(ELSEWHERE)), f"{place}: `{said}`: why can it not run here?"
    if words[0] == "make":
        assert f"\n{words[1]}:" in (pages.ROOT / "Makefile").read_text(), place
    if words[0] == "python":
        assert (pages.ROOT / words[1]).is_file(), place


def study(block, desk):
    """Check a study and leave it on the desk under its name, for the commands that follow."""
    name = re.search(r'^name = "(\w+)"', block.text, re.MULTILINE)[1]
    (desk / f"{name}.toml").write_text(block.text)
    assert api.plan(str(desk / f"{name}.toml")).streams


def extending(printed):
    shares = re.search(r"(\S+) of it lies within", "".join(printed))
    assert shares and 0 < float(shares[1]) <= 1


def agents(printed):
    neoteny.rl.ENVIRONMENTS.pop("corridor")
    tasks = ast.literal_eval(printed[-1])
    assert [task for task, *_ in tasks] == [0, 1]
    assert tasks[0][1] > 0.8


def monitor(printed):
    assert len(printed) == 4
    assert all(said.startswith("trainable\n") for said in printed)


SAID = {"docs/extending.md": extending, "docs/agents.md": agents, "docs/monitor.md": monitor}
"""What must come of the code on a page, beyond that it runs."""


RESULTS = sorted((pages.ROOT / "docs" / "results").glob("*.csv"))
COMPARED = [path for path in RESULTS if path.stem != "borrowed-methods"]


def test_a_page_of_results_is_written_as_it_says(stand_in, tmp_path):
    script = str(pages.ROOT / "docs/results/write.py")
    names: dict = {"__name__": "write"}
    exec(compile(Path(script).read_text(), script, "exec"), names)
    names["page"](stand_in, tmp_path)
    written = json.loads((stand_in / "study.json").read_text())["study"]["name"]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{written}.{ending}" for ending in ("md", "csv", "png")
    }


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_the_table_of_choosing_a_method_is_that_of_the_results(path):
    rows = {row["method"]: row["last"] for row in csv.DictReader(path.read_text().splitlines())}
    title = (path.with_suffix(".md")).read_text().split("\n")[0]
    table = pages.text(pages.ROOT / "docs/choosing-a-method.md").split("## How they did")[1]
    header, _, *body = [
        [cell.strip(" *`") for cell in line.split("|")[1:-1]]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    (place,) = [i for i, name in enumerate(header) if name and name in title and i]
    scale = 1 if "Ant" in title or "CartPole" in title else 100
    expected = {method: f"{scale * float(last):.1f}" for method, last in rows.items()}
    expected.pop("reset", None)
    assert {row[0]: row[place] for row in body if row[place]} == expected
