"""What every tracker holds of stored runs: read back by its own means, and compared."""

import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import readers
from stored_runs import ROWS, SIZE, STATES, numbers, write_all, write_run

import tiny
from neoteny.cli.export import export as command
from neoteny.errors import UserError
from neoteny.trackers import TRACKERS, Place, send
from neoteny.trackers.base import histogram, tags

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
ROUNDED = {"tensorboard": np.float32}  # its scalars have 32 bits


class Sent(NamedTuple):
    """Runs, the folder of a tracker that they were sent to, and what it then holds."""

    to: str
    stored: Path
    out: Path
    found: dict
    changed: tuple
    """Of the process before and after: its environment, and its children."""


@pytest.fixture(scope="module", params=PACKAGES)
def sent(request, tmp_path_factory):
    pytest.importorskip(PACKAGES[request.param])
    place = tmp_path_factory.mktemp(request.param)
    stored, out = place / "runs", place / "out put"
    write_all(stored)
    before = dict(os.environ), _children()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The ``noload`` loader")  # MLflow's, of SQLAlchemy
        assert send(stored, request.param, out) == len(STATES)
        changed = before, (dict(os.environ), _children())
        return Sent(request.param, stored, out, _read(request.param, out), changed)


def _children():
    """The processes that this one has started and that live."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, _, rest = path.read_text().partition(" (")
            state, parent = rest.rpartition(") ")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found.add(number)
    return found


def _read(to, out):
    return getattr(readers, to)(out)


def _expected(to, stored):
    """What the store has, under the tags that trackers know it by."""
    found = {}
    for run, rows in numbers(stored).items():
        columns = dict.fromkeys(name for row in rows.values() for name in row)
        tag = {column: tag for tag, column in tags(columns).items()}
        rounded = ROUNDED.get(to, float)
        with np.errstate(over="ignore"):
            found[run] = {
                task: {tag[name]: float(rounded(value)) for name, value in row.items()}
                for task, row in rows.items()
            }
    return found


def test_every_number_is_there_at_its_task_and_nothing_else(sent):
    assert {run: one.rows for run, one in sent.found.items()} == _expected(sent.to, sent.stored)
    _, second, third = sent.found["labels/bp/seed-0"].rows.values()
    assert second.keys() == {"runs/online_accuracy", "own/flag"}  # no text, and no NaN
    assert {"own/odd_name__µ_", "own/odd_name__µ__2", "own/_"} <= third.keys()


def test_it_says_how_each_run_ended_and_how_it_was_made(sent):
    for run, one in sent.found.items():
        _, method, seed = run.split("/")
        status, reason = STATES[method, int(seed[-1])]
        assert (one.status == "finished") == (status == "finished"), run
        assert one.reason == reason
        assert one.config["method"] == method
        assert float(one.config["hyperparameters"]["weight_decay"]) == 0.001
        assert one.units["hessian/hessian_max"] == "loss / parameter²"
        assert one.units["runs/online_accuracy"] == "share"


def test_a_spectrum_is_a_histogram_of_all_eigenvalues(sent):
    spectra = sent.found["labels/bp/seed-0"].spectra
    if sent.to == "mlflow":  # which has no histograms
        assert spectra == {}
        return
    assert {step: list(tags) for step, tags in spectra.items()} == {1: ["hessian/spectrum_start"]}
    edges, counts = spectra[1]["hessian/spectrum_start"]
    assert len(edges) == len(counts) + 1 <= 513
    placed = {edge: count for edge, count in zip(edges[1:], counts, strict=True) if count}
    # of two probes: -0.5, then 0 and 1e-15 in one bin, 2, and 3 with 3.1 in one bin
    np.testing.assert_allclose([*placed.values()], np.array([0.25, 1.15, 0.5, 0.1]) * SIZE / 2)
    for edge, value in zip(placed, (-0.5, 0.0, 2.0, 3.0), strict=True):
        assert value <= edge <= value + max(0.26 * abs(value), 1e-12)


def test_no_process_is_left_and_no_setting_changed(sent):
    before, after = sent.changed
    assert after == before


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")
def test_sending_twice_doubles_nothing_and_sends_what_is_new(sent, tmp_path):
    stored, out = tmp_path / "runs", sent.out
    shutil.copytree(sent.stored, stored)
    always = len(STATES) if sent.to == "tensorboard" else None  # whose files are made anew
    assert send(stored, sent.to, out) == (always or 0)
    assert _read(sent.to, out) == sent.found
    write_run(stored, "l2", 1, rows=[*ROWS, {"online_accuracy": 0.9}])
    write_run(stored, "l2", 0)  # which is tried again
    assert send(stored, sent.to, out) == (always or 2)
    found = _read(sent.to, out)
    assert {run: one.rows for run, one in found.items()} == _expected(sent.to, stored)
    for seed in (0, 1):
        assert found[f"labels/l2/seed-{seed}"].status == "finished"
        assert found[f"labels/l2/seed-{seed}"].reason is None


def test_a_histogram_keeps_what_it_is_of():
    rng = np.random.default_rng(0)
    nodes = np.concatenate([rng.standard_normal(50) * 10.0 ** rng.integers(-15, 14, 50), [0.0]])
    weights = rng.random(51)
    one = histogram(nodes, weights, 7.0)
    np.testing.assert_allclose(one.counts.sum(), 7.0)
    np.testing.assert_allclose(one.sum, 7.0 * np.average(nodes, weights=weights))
    np.testing.assert_allclose(one.sum_squares, 7.0 * np.average(nodes**2, weights=weights))
    assert (one.low, one.high) == (nodes.min(), nodes.max())
    assert (np.diff(one.edges) > 0).all()


class Scripted:
    """A tracker of somebody's own, which notes what it is told."""

    def __init__(self, place):
        self.place, self.told = place, []

    def start(self, run):
        self.told.append(run.name)
        return True

    def log(self, task, values, spectra):
        self.told.append(task)

    def finish(self):
        self.told.append("finished")

    def close(self):
        self.told.append("closed")


def test_a_tracker_of_ones_own_is_told_all_of_it_and_closed(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "runs", "bp", 0)
    made = []
    monkeypatch.setitem(TRACKERS, "mine", lambda place: made.append(Scripted(place)) or made[-1])
    assert send(folder, "mine", tmp_path / "out", project="p") == 1
    assert made[0].place == Place(tmp_path / "out", "p", False)
    assert made[0].told == ["labels/bp/seed-0", 0, 1, 2, "finished", "closed"]
    monkeypatch.setattr(Scripted, "log", lambda *told: 1 / 0)
    with pytest.raises(UserError, match="`--to mine` has failed: ZeroDivisionError"):
        send(folder, "mine", tmp_path / "out")
    assert made[1].told == ["labels/bp/seed-0", "closed"]


def test_what_cannot_be_sent_is_refused(tmp_path, monkeypatch):
    folder, out = write_run(tmp_path / "runs", "bp", 0), tmp_path / "out"
    for to, words in (("tensorbord", "Did you mean `tensorboard`"), ("csv", "no tracker `csv`")):
        with pytest.raises(UserError, match=words):
            send(folder, to, out)
    for to in ("tensorboard", "mlflow"):
        with pytest.raises(UserError, match="`online` is given"):
            send(folder, to, out, online=True)
    with pytest.raises(UserError, match="no folder"):
        send(tmp_path / "nowhere", "tensorboard", out)
    with pytest.raises(UserError, match="a file"):
        send(folder, "tensorboard", folder / "run.json")
    other = out / "labels/bp/seed-0/events.out.tfevents.1.other"
    other.parent.mkdir(parents=True)
    other.touch()
    with pytest.raises(UserError, match="would mix"):
        send(folder, "tensorboard", out)


@pytest.mark.parametrize("to", PACKAGES)
def test_without_its_package_one_sentence_names_the_extra(tmp_path, monkeypatch, to):
    for name in list(sys.modules):
        if name.split(".")[0] == PACKAGES[to]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, PACKAGES[to], None)
    before = dict(os.environ)
    with pytest.raises(UserError, match=rf'pip install "neoteny\[{to}\]"'):
        send(write_run(tmp_path, "bp", 0), to, tmp_path / "out")
    assert dict(os.environ) == before
    assert not (tmp_path / "out").exists()


def test_nothing_goes_over_the_network(sent, tmp_path, scratch):
    """A proxy that all of it would have to pass hears nothing, though no test is known to run."""
    folder = write_run(tmp_path / "runs", "bp", 0)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        variables = {
            name: address for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        }
        environment = tiny.environment(scratch, HOME=str(tmp_path), **variables)
        for name in ("CI", "PYTEST_CURRENT_TEST", "NO_PROXY", "no_proxy"):
            environment.pop(name, None)
        words = tiny.command("export", folder, "--to", sent.to, "--out", sent.out)
        answer = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout == f"{sent.out}: 1 run written\n"
        proxy.settimeout(0.5)
        with pytest.raises(TimeoutError):
            proxy.accept()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # nothing is left at home


def test_a_run_that_its_caller_has_open_in_wandb_goes_on(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    own = wandb.init(mode="offline", dir=str(tmp_path), settings={"silent": True, "console": "off"})
    try:
        assert send(write_run(tmp_path / "runs", "bp", 0), "wandb", tmp_path / "out") == 1
        assert wandb.run is own
        own.log({"mine": 1.0})
        own.finish()
    finally:
        wandb.teardown()
    found = readers.wandb(tmp_path / "out")
    assert [*found] == ["labels/bp/seed-0"] and len(found["labels/bp/seed-0"].rows) == 3


def test_the_tracker_on_its_page_is_told_of_a_run(tmp_path, capsys, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "exporting.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "printed.py").write_text(code)
    folder = write_run(tmp_path / "runs", "l2", 0, "failed", "why")
    try:
        command(folder, tmp_path / "out", to="printed", plugin=[tmp_path / "printed.py"])
    finally:
        TRACKERS.pop("printed", None)
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"to {tmp_path / 'out'}", "labels/l2/seed-0 failed why"]
    assert said[3].startswith("1 {") and said[3].endswith("['hessian/spectrum_start']")
    assert said[-2:] == ["done", f"{tmp_path / 'out'}: 1 run written"]
