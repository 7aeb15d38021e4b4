"""A run in this process: its table, what probes may not touch, and how it ends."""

import json
from typing import NamedTuple

import duckdb
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neoteny
import tiny
from neoteny import loop, store
from neoteny.errors import UserError
from neoteny.methods import METHODS
from neoteny.probes import PROBES
from neoteny.sweep import expand, folder_of

pytestmark = pytest.mark.usefixtures("compiled_once")

LEADING = [
    "study",
    "stream",
    "method",
    "seed",
    "task",
    "online_accuracy",
    "final_accuracy",
    "heldout_accuracy",
    "fresh_accuracy",
    "fresh_online_accuracy",
    "fresh_heldout_accuracy",
    "chance_accuracy",
    "online_loss",
    "final_loss",
    "diverged_step",
]


def _run(out, *, status="finished", **changes):
    """Run a study to its end; its folder."""
    results = neoteny.run(tiny.study(**changes), out=out)
    assert {outcome.status for outcome in results.outcomes} == {status}
    return results


def _arrays(out, method="bp", stream="labels"):
    task, arrays = store.read_checkpoint(out / stream / method / "seed-0" / "checkpoint.npz")
    return task, {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return _run(tmp_path_factory.mktemp("plain"))


def test_a_row_has_the_fixed_columns_in_their_order_then_what_was_measured(plain):
    (table,) = plain.folder.rglob("tasks.parquet")
    described = duckdb.sql(f"DESCRIBE SELECT * FROM '{table}'").fetchall()
    names = [name for name, *_ in described]
    assert names[: len(LEADING)] == LEADING
    assert {"hessian_rank_start", "hessian_trace_end", "weight_norm"} <= set(names)
    assert not [name for name in names if "second" in name]


def test_each_cadence_says_when_a_column_is_filled(plain):
    rows = plain.query(
        "SELECT task, fresh_accuracy, hessian_trace_start, hessian_max_end, weight_norm, "
        "heldout_accuracy, fresh_heldout_accuracy, chance_accuracy, diverged_step "
        "FROM tasks ORDER BY task"
    ).rows
    filled = [[value is not None for value in row[1:5]] for row in rows]
    assert filled == [[True] * 4, [False, False, False, True], [True] * 4]
    # nothing can be predicted of unseen rows under random labels
    assert [row[5:] for row in rows] == [(None, None, 0.1, None)] * 3
    spectra = plain.query("SELECT DISTINCT task, phase FROM spectra ORDER BY ALL").rows
    assert spectra == [(0, "end"), (0, "start"), (2, "end"), (2, "start")]


def test_a_stream_with_unseen_rows_has_their_accuracy(tmp_path):
    results = _run(tmp_path, stream__rule="permuted-pixels", tasks=1, probes__spectrum_every=0)
    (row,) = results.query("SELECT heldout_accuracy, fresh_heldout_accuracy FROM tasks").rows
    assert all(0 < value < 1 for value in row)


@pytest.mark.parametrize(
    "changes",
    [
        {"probes__names": [], "probes__fresh_every": 0, "probes__spectrum_every": 0},
        {"probes__every": 2, "probes__fresh_every": 1, "probes__spectrum_every": 1},
    ],
    ids=["none", "others"],
)
def test_probes_and_their_cadence_never_change_a_bit_of_training(plain, tmp_path, changes):
    _run(tmp_path, **changes)
    assert _arrays(tmp_path) == _arrays(plain.folder)


def test_the_bits_of_a_run_follow_its_seed(plain, tmp_path):
    _run(tmp_path, seeds=2)
    assert tiny.contents(plain.folder).items() <= tiny.contents(tmp_path).items()
    _, one = _arrays(tmp_path)
    other = store.read_checkpoint(tmp_path / "labels" / "bp" / "seed-1" / "checkpoint.npz")[1]
    assert one.keys() == other.keys()
    assert any(one[name] != other[name].tobytes() for name in one)


def test_methods_of_a_study_see_the_same_stream_from_the_same_initial_weights(
    tmp_path, monkeypatch
):
    methods = ["bp", "l2_init", "cbp", "layernorm_l2"]
    starts, tasks = [], []

    def look(config, machine, learner, stream, index, draw):
        starts.append([np.asarray(layer["kernel"]).tobytes() for layer in learner.params])
        task = stream(draw.stream, index)
        tasks.append([np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(task)])
        raise RuntimeError("seen enough")

    monkeypatch.setattr(loop, "_live_through", look)
    _run(tmp_path, status="failed", methods=methods)
    assert len(starts) == len(methods)
    assert all(start == starts[0] for start in starts)
    assert all(task == tasks[0] for task in tasks)


def test_the_fresh_reference_of_the_first_task_is_drawn_apart_from_the_run(plain):
    (row,) = plain.query("SELECT final_loss, fresh_accuracy FROM tasks WHERE task = 0").rows
    config = expand(tiny.study())[0]
    draw = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), loop.FRESH), 0)
    _, machine = loop.prepare(config)
    first = machine.network.init(draw)[0]["kernel"]
    own = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), loop.INITIAL), 0)
    assert not np.allclose(first, machine.network.init(own)[0]["kernel"])
    assert row[1] is not None


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    out = tmp_path_factory.mktemp("diverged")
    changes = {"training__optimiser": "sgd", "training__learning_rate": 1e200}
    return _run(out, status="diverged", **changes)


def test_a_loss_that_is_no_number_ends_the_run_as_a_finding(diverged):
    status = store.status(diverged.folder)[0]
    assert (status["status"], status["tasks_done"], status["tasks_asked"]) == ("diverged", 1, 3)
    (row,) = diverged.query("SELECT task, diverged_step, final_loss FROM tasks").rows
    assert row[0] == 0
    assert 1 <= row[1] < 6
    assert row[2] is None
    assert status["reason"] == f"loss not finite in task 0, step {row[1]}"


def test_a_diverged_run_can_be_judged_and_reported(diverged):
    assert {verdict.outcome for verdict in diverged.verdict()} == {"undecided"}
    assert "1 of them without all tasks" in diverged.verdict()[0].evidence
    assert diverged.table()
    assert "diverged" in diverged.report().read_text()


def test_a_diverged_run_killed_before_its_end_was_recorded_does_not_go_on(diverged, tmp_path):
    """Between the last commit and the final word: the checkpoint alone must tell."""
    config = expand(tiny.study(training__optimiser="sgd", training__learning_rate=1e200))[0]
    folder = folder_of(diverged.folder, config)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"status": "running", "reason": None}))
    before = tiny.contents(diverged.folder)
    assert loop.run(config, folder) == "diverged"
    assert tiny.contents(diverged.folder) == before
    assert json.loads((folder / "run.json").read_text())["reason"] == record["reason"]


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"training.batch` is 61.* 60 training rows") as error:
        neoteny.run(tiny.study(training__batch=61), out=tmp_path / "new")
    assert "--set training.batch=16" in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["bp", "l2er"]}, "no method `l2er`"),
        ({"network__kind": "mpl"}, "Did you mean `mlp`"),
        ({"network__activation": "rulu"}, "Did you mean `relu`"),
        ({"network__initialiser": "he"}, "no initialiser `he`"),
        ({"stream__rule": "random-label"}, "Did you mean `random-labels`"),
        ({"stream__dataset": "digit"}, "Did you mean `digits`"),
        ({"stream__rows": 10**6}, "`rows` is 1000000"),
        ({"probes__names": ["nroms"]}, "Did you mean `norms`"),
        ({"hyperparameters__l3__weight_decay": 0.1}, "`l3`.*Did you mean `l2`"),
        ({"hyperparameters__bp__weight_decay": 0.1}, "no hyperparameter of `bp`"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_made(tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        neoteny.run(tiny.study(**changes), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def interrupted(tmp_path):
    """A run stopped after its second task, and its configuration."""
    config = expand(tiny.study(probes__spectrum_every=0, probes__fresh_every=0))[0]
    folder = folder_of(tmp_path, config)

    class Stop(BaseException):
        pass

    def stop(done, value):
        if done == 2:
            raise Stop

    loop.COMMIT_SECONDS, usual = -1.0, loop.COMMIT_SECONDS
    try:
        loop.run(config, folder, on_task=stop)
    except Stop:
        pass
    finally:
        loop.COMMIT_SECONDS = usual
    assert store.status(tmp_path)[0] | {"seconds": 0} | {"reason": None} == (
        store.status(tmp_path)[0] | {"status": "interrupted", "tasks_done": 2, "seconds": 0}
    )
    return tmp_path, folder, config


def _again(out):
    return neoteny.run(tiny.study(probes__spectrum_every=0, probes__fresh_every=0), out=out)


def test_a_checkpoint_of_another_shape_is_refused_in_words(interrupted):
    out, folder, config = interrupted
    path = folder / "checkpoint.npz"
    with np.load(path) as saved:
        arrays = dict(saved)
    name = next(name for name in arrays if "kernel" in name)
    np.savez(path, **(arrays | {name: arrays[name][:-1]}))
    for attempt in (lambda: _again(out), lambda: loop.run(config, folder)):
        with pytest.raises(UserError, match=r"The checkpoint does not fit .*kernel") as error:
            attempt()
        assert "--out" in str(error.value)


def test_a_corrupt_checkpoint_is_refused_and_nothing_is_deleted(interrupted):
    out, folder, _ = interrupted
    path = folder / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match="is damaged") as error:
        _again(out)
    assert str(path) in str(error.value)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_run_that_fails_says_so_in_its_record_and_goes_on_when_mended(interrupted, monkeypatch):
    out, _, _ = interrupted

    def broken(*arguments):
        raise RuntimeError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_live_through", broken)
        (outcome,) = _again(out).outcomes
        assert outcome.status == "failed"
        assert "RuntimeError: no such luck (test_loop.py, line " in outcome.reason
        recorded = store.status(out)[0]
        assert (recorded["status"], recorded["tasks_done"]) == ("failed", 2)
        assert recorded["reason"] == "RuntimeError: no such luck"
    assert _again(out).outcomes[0].status == "finished"


def test_a_method_that_cannot_be_built_is_refused_with_its_own_error(tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "unfinished", None)  # goes again with this test

    def unfinished():
        raise KeyError("penalties")

    with pytest.raises(UserError, match=r"`unfinished` on `labels` cannot be built: KeyError"):
        neoteny.run(tiny.study(), methods=[unfinished], out=tmp_path)


def test_a_probe_of_ones_own_adds_its_columns(tmp_path, monkeypatch):
    class Width(NamedTuple):
        width: jax.Array
        infinite: jax.Array

    look = lambda snapshot: Width(jnp.asarray(3.0), jnp.asarray(jnp.inf))
    monkeypatch.setitem(PROBES, "width", look)
    changes = {"probes__names": ["width"], "probes__spectrum_every": 0, "probes__fresh_every": 0}
    results = _run(tmp_path, tasks=1, **changes)
    assert results.query("SELECT width, infinite FROM tasks").rows == [(3.0, None)]


def test_what_is_measured_before_a_task_is_the_network_that_the_last_task_left(plain, tmp_path):
    changes = {
        "probes.start_names": ["norms"],
        "probes.spectrum_at": ["start"],
        "probes.ggn_route": "gram",
    }
    out = _run(tmp_path, **changes).folder
    rows = store.query(
        out, "SELECT weight_norm_start, weight_norm, ggn_rank_start FROM tasks ORDER BY task"
    ).rows
    before, after, ranks = zip(*rows, strict=True)
    np.testing.assert_allclose(before[1:], after[:-1], rtol=1e-6)
    assert ranks[0] == pytest.approx(round(ranks[0]), abs=1e-9)  # a count, not an estimate
    estimated = store.query(plain.folder, "SELECT ggn_rank_start FROM tasks WHERE task = 0").rows
    assert estimated[0][0] is None or ranks[0] == pytest.approx(estimated[0][0], rel=0.5)
    columns = store.query(out, "SELECT column_name FROM (DESCRIBE tasks)").rows
    assert not [name for (name,) in columns if name.startswith("ggn_") and "_end" in name]
    assert _arrays(out) == _arrays(plain.folder)


def test_a_probe_of_cross_entropy_is_refused_where_the_loss_is_another(tmp_path):
    changes = {"training.loss": "squared-error", "probes.start_names": ["budget"]}
    with pytest.raises(UserError, match="`budget` measures cross-entropy"):
        neoteny.run(tiny.study(**changes), out=tmp_path)
