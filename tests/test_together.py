"""All seeds of a method as one program: the numbers of runs apart, and lives of their own."""

import itertools
import json
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import neoteny
import tiny
from neoteny import lockstep, loop, store
from neoteny.streams import STREAMS, random_labels
from neoteny.sweep import expand, folder_of

pytestmark = pytest.mark.usefixtures("compiled_once")

PLAIN = {"probes__spectrum_every": 0, "probes__fresh_every": 0, "probes__names": []}
SEEDS = 3


def _run(study, out, *, status="finished", **options):
    results = neoteny.run(study, out=out, **options)
    assert {outcome.status for outcome in results.outcomes} == {status}
    assert [outcome.config for outcome in results.outcomes] == expand(study)
    return results


def _table(results):
    """The names of the columns, and the numbers of those that hold any; NaN for null."""
    found = results.query("SELECT * EXCLUDE (study, stream, method) FROM tasks ORDER BY seed, task")
    return found.columns, np.asarray(found.rows, float)


def _agree(study, tmp_path):
    """The tables of runs apart and together are equal but for rounding: in float64, of 1e-6."""
    names, apart = _table(_run(study, tmp_path / "apart", together=False))
    others, together = _table(_run(study, tmp_path / "together", together=True))
    assert names == others
    np.testing.assert_allclose(together, apart, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("l2_er", {"every": 2}),
        ("cbp", {"replacement_rate": 0.1, "maturity": 2}),  # some 4 of 8 units of a layer in a task
    ],
)
def test_methods_that_act_within_a_task_agree_with_their_runs_apart(tmp_path, method, values):
    own = {f"hyperparameters__{method}__{name}": value for name, value in values.items()}
    changes = PLAIN | own | {"tasks": 2, "training__learning_rate": 0.01}
    _agree(tiny.study(methods=[method], seeds=2, **changes), tmp_path)


GROWING = {"stream__rule": "incremental-classes", "stream__rows": 100}
"""Three tasks, of 2, of 6 and of all 10 classes of the digits."""


@pytest.mark.parametrize(
    ("head", "network"),
    [
        ("grown", {"kind": "convnet", "options": {"channels": [3, 4], "kernels": [3, 3]}}),
        ("masked", {"kind": "resnet", "options": {"channels": [3], "blocks": 1}}),
        ("zeroed", {"kind": "mlp"}),
    ],
    ids=["grown", "masked", "zeroed"],
)
def test_tasks_that_grow_agree_with_their_runs_apart(tmp_path, head, network):
    changes = (
        PLAIN
        | GROWING
        | {
            "stream__options": {"start": 2, "step": 4},
            "network__kind": network["kind"],
            "network__options": network.get("options", {}),
            "training__head": head,
            "training__batch": 5,
            "training__augmentation": "crop-and-flip" if head == "masked" else "none",
            "probes__fresh_every": 1 if head == "grown" else 0,
            "seeds": 2,
        }
    )
    _agree(tiny.study(**changes), tmp_path)


def test_a_group_that_was_killed_ends_with_the_same_bits(tmp_path, monkeypatch):
    study = tiny.study(seeds=SEEDS, methods=["cbp"], tasks=4)
    monkeypatch.setattr(loop, "COMMIT_SECONDS", -1.0)
    whole = _run(study, tmp_path / "whole", together=True)

    commit = store.Run.commit

    def interrupt(run, *arrays, **options):
        if (run.config["seed"], run.tasks_done) == (2, 2):
            raise KeyboardInterrupt
        commit(run, *arrays, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.Run, "commit", interrupt)
        _run(study, tmp_path / "killed", together=True)
    stood = {row["seed"]: row["tasks_done"] for row in store.status(tmp_path / "killed")}
    assert stood == {0: 2, 1: 2, 2: 1}  # so the last has to catch up
    killed = _run(study, tmp_path / "killed", together=True)
    assert tiny.contents(killed.folder) == tiny.contents(whole.folder)


def test_a_group_commits_at_the_same_tasks(tmp_path, monkeypatch):
    """By a clock that goes on by 0.3 seconds whenever somebody looks: twice a task for them all."""
    ticks, commits, commit = itertools.count(), [], store.Run.commit

    def noted(run, *arrays, **options):
        commits.append((run.config["seed"], run.tasks_done))
        commit(run, *arrays, **options)

    monkeypatch.setattr(store.Run, "commit", noted)
    monkeypatch.setattr(lockstep, "time", SimpleNamespace(
        monotonic=lambda: 0.3 * next(ticks), perf_counter=time.perf_counter
    ))  # fmt: skip
    _run(tiny.study(seeds=SEEDS, tasks=6, **PLAIN), tmp_path, together=True)
    assert commits == [(seed, done) for done in (3, 6) for seed in range(SEEDS)]


def test_seeds_added_later_leave_those_before_alone(tmp_path):
    first = _run(tiny.study(seeds=2, **PLAIN), tmp_path, together=True)
    before = tiny.contents(first.folder)
    _run(tiny.study(seeds=3, **PLAIN), tmp_path, together=True)
    assert before.items() < tiny.contents(first.folder).items()


def _spoilt(seed):
    """Random labels of images that are no numbers in task 1 of one seed."""
    theirs = loop.Branches(seed).stream

    def rule(dataset):
        stream = random_labels(dataset)

        def task(key, index):
            whole = stream(key, index)
            bad = (key == theirs) & (jnp.asarray(index) == 1)
            inputs = jnp.where(bad, jnp.nan, whole.train.inputs)
            return whole._replace(train=whole.train._replace(inputs=inputs))

        return task

    return rule


def test_a_seed_that_diverges_does_not_change_a_bit_of_the_others(tmp_path, monkeypatch):
    for name, seed in {"sound": SEEDS, "spoilt": 1}.items():
        monkeypatch.setitem(STREAMS, name, _spoilt(seed))
    changes = {"seeds": SEEDS, "tasks": 4, **PLAIN, "probes__fresh_every": 1}
    sound = _run(tiny.study(stream__rule="sound", **changes), tmp_path / "sound", together=True)
    study = tiny.study(stream__rule="spoilt", **changes)
    results = neoteny.run(study, out=tmp_path / "spoilt", together=True)
    assert [end.status for end in results.outcomes] == ["finished", "diverged", "finished"]
    for config in expand(study):
        expected, found = (
            tiny.contents(folder_of(folder, config)) for folder in (sound.folder, results.folder)
        )
        assert (found == expected) == (config.seed != 1)
    rows = results.query("SELECT task, diverged_step FROM tasks WHERE seed = 1 ORDER BY task").rows
    assert rows == [(0, None), (1, 0)]


def test_a_run_that_fails_by_itself_fails_alone(tmp_path, monkeypatch):
    live = loop._live_through

    def unlucky(config, *arguments):
        if config.seed == 1:
            raise ZeroDivisionError("by chance")
        return live(config, *arguments)

    study = tiny.study(seeds=SEEDS, **PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_live_through", unlucky)
        results = neoteny.run(study, out=tmp_path, together=True)
    assert [end.status for end in results.outcomes] == ["finished", "failed", "finished"]
    assert results.outcomes[1].reason.startswith("ZeroDivisionError: by chance (test_together.py")
    reasons = {row["seed"]: row["reason"] for row in store.status(tmp_path)}
    assert reasons == {0: None, 1: "ZeroDivisionError: by chance", 2: None}
    _run(study, tmp_path, together=True)


def test_what_fails_in_learning_together_fails_all_of_its_group_and_goes_on_when_mended(
    tmp_path, monkeypatch
):
    def broken(function):
        raise MemoryError("too many seeds")

    study = tiny.study(seeds=2, **PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(lockstep, "_side_by_side", broken)
        _run(study, tmp_path, together=True, status="failed")
    assert {row["reason"] for row in store.status(tmp_path)} == {"MemoryError: too many seeds"}
    _run(study, tmp_path, together=True)


def test_a_run_that_another_process_holds_fails_alone(tmp_path):
    configs = expand(tiny.study(seeds=2, **PLAIN))
    folders = [folder_of(tmp_path, config) for config in configs]
    held = configs[0].model_dump(mode="json")
    with store.Run.open(folders[0], held):
        ends = loop.run_together(configs, folders)
    assert isinstance(ends[0], neoteny.UserError)
    assert ends[1] == "finished"


def test_runs_that_differ_in_more_than_the_seed_do_not_go_together(tmp_path):
    configs = expand(tiny.study(methods=["bp", "l2"]))
    with pytest.raises(ValueError, match="differ in nothing but their seed"):
        loop.run_together(configs, [folder_of(tmp_path, config) for config in configs])


def test_together_takes_the_time_of_the_group_divided_by_its_runs(tmp_path):
    _run(tiny.study(seeds=2, **PLAIN), tmp_path, together=True)
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    assert [record["provenance"]["together"] for record in records] == [2, 2]
    one, other = (record["seconds"] for record in records)
    assert np.isclose(one, other) and one > 0
