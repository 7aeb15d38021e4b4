"""Runs on images from end to end: each network, tasks that grow or change the outputs."""

import jax
import numpy as np
import pytest

import neoteny
from neoteny import loop, store
from neoteny.config import Study, validated
from neoteny.errors import UserError
from neoteny.loop import prepare
from neoteny.sweep import expand

pytestmark = pytest.mark.usefixtures("compiled_once")

SMALL = {
    "convnet": {"channels": [3, 4], "kernels": [3, 3]},
    "resnet": {"channels": [3, 4], "blocks": 1},
    "transformer": {"size": 8, "heads": 2, "depth": 1},
}


PERCEPTRONS = ("gpm", "heterogeneous_dropout")  # which know no others


def _study(rule, kind, *, methods=("bp",), options=None, tasks=2, training=None, probes=None):
    setting = {
        "tasks": tasks,
        "stream": {"rule": rule, "dataset": "digits", "rows": 100, "options": options or {}},
        "network": {"kind": kind, "widths": [6], "options": SMALL.get(kind, {})},
        "training": {"optimiser": "adam", "learning_rate": 1e-3, "batch": 5} | (training or {}),
        "probes": {"names": ["ranks"], "rows": 10, "fresh_every": 1, "spectrum_every": 0}
        | (probes or {}),
    }
    data = {"name": "images", "methods": list(methods), "seeds": 1, "streams": {"s": setting}}
    return validated(Study, data)


def _run(study, out):
    results = neoteny.run(study, out=out)
    assert {outcome.status for outcome in results.outcomes} == {"finished"}
    return results


def test_pairs_of_classes_are_learnt_by_a_convnet_whose_head_is_zeroed(tmp_path):
    study = _study("class-pairs", "convnet", training={"head": "zeroed", "epochs": 4})
    rows = _run(study, tmp_path).query("SELECT chance_accuracy, final_loss FROM tasks").rows
    assert [row[0] for row in rows] == [0.5, 0.5]
    assert all(np.isfinite(row[1]) for row in rows)


def test_classes_come_in_stages_and_only_those_seen_count(tmp_path):
    few = {"spectrum_every": 2, "spectrum_rows": 6, "spectrum_steps": 4, "spectrum_probes": 1}
    options, training = {"start": 2, "step": 4}, {"head": "grown"}
    study = _study(
        "incremental-classes", "resnet", options=options, tasks=3, training=training, probes=few
    )
    results = _run(study, tmp_path)
    chances = results.query("SELECT chance_accuracy FROM tasks ORDER BY task").rows
    assert [1 / chance for (chance,) in chances] == pytest.approx([2, 6, 10])
    _, machine = prepare(expand(study)[0])
    assert machine.trainer.learn._cache_size() == 1  # compiled once, whatever the stage
    _, arrays = store.read_checkpoint(next(tmp_path.rglob("checkpoint.npz")))
    means = [
        arrays[name] for name in arrays if name.startswith(".network_state") and "mean" in name
    ]
    assert means and any(np.any(mean != 0) for mean in means)


@pytest.mark.parametrize(
    "kind", ["convnet", "resnet", pytest.param("transformer", marks=pytest.mark.further)]
)
def test_every_method_is_legal_on_every_network(kind):
    quick = {name: {"every": 2, "layers": 1} for name in ("er", "l2_er")}
    methods = tuple(name for name in neoteny.methods.METHODS if name not in PERCEPTRONS)
    study = _study("random-labels", kind, methods=methods)
    setting = study.streams["s"].model_copy(update={"hyperparameters": quick})
    for config in expand(study.model_copy(update={"streams": {"s": setting}})):
        stream, machine = prepare(config)
        learner = jax.eval_shape(
            lambda key, machine=machine: machine.trainer.initialise(machine.network.init(key)),
            jax.random.key(0),
        )
        task = stream(jax.random.key(0), 0)
        jax.eval_shape(machine.trainer.begin, learner, task.train, jax.random.key(1))
        jax.eval_shape(machine.trainer.learn, learner, task.train, jax.random.key(1))


def test_gradient_projection_says_that_it_knows_perceptrons_alone():
    (config,) = expand(_study("random-labels", "convnet", methods=("gpm",)))
    with pytest.raises(UserError, match="perceptron"):
        prepare(config)


def test_images_are_cropped_and_turned_on_the_way_to_a_transformer(tmp_path):
    study = _study("rotated", "transformer", training={"augmentation": "crop-and-flip"})
    assert _run(study, tmp_path).query("SELECT count(*) FROM tasks").rows == [(2,)]


def test_numbers_are_learnt_with_a_loss_and_no_accuracy(tmp_path):
    study = _study("slowly-changing-regression", "mlp", options={"rows": 40},
                   training={"loss": "squared-error"})  # fmt: skip
    results = _run(study, tmp_path)
    rows = results.query("SELECT online_accuracy, fresh_accuracy, online_loss FROM tasks").rows
    assert all(row[:2] == (None, None) and row[2] > 0 for row in rows)
    assert results.report().exists()


@pytest.mark.parametrize(
    ("rule", "kind", "changes", "said"),
    [
        ("slowly-changing-regression", "mlp", {}, "labels of this stream are numbers"),
        ("class-pairs", "convnet", {"options": {"classes_per_task": 30}}, "30"),
        ("class-pairs", "convnet", {"options": {"classes": 2}}, "no option of `class-pairs`"),
        ("slowly-changing-regression", "convnet", {"training": {"loss": "squared-error"}}, "image"),
        (
            "incremental-classes",
            "mlp",
            {"training": {"loss": "squared-error", "head": "masked"}},
            "`training.head` is masked",
        ),
        ("permuted-pixels", "mlp", {"training": {"head": "grown"}}, "does not tell which outputs"),
        (
            "incremental-classes",
            "mlp",
            {"options": {"start": 2, "step": 4}, "training": {"batch": 30}},
            "smallest task .* has 20 training rows",
        ),
        (
            "incremental-classes",
            "mlp",
            {"options": {"start": 2, "step": 4}, "methods": ("l2_er",)},
            "a task has 4",
        ),
        ("random-labels", "resnet", {"training": {"batch": 1}}, "normalises each unit"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_trained(rule, kind, changes, said, tmp_path):
    with pytest.raises(UserError, match=said):
        neoteny.run(_study(rule, kind, **changes), out=tmp_path)


def test_an_option_that_a_network_does_not_have_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"`convnet` called `chanels`.*`channels`"):
        neoteny.networks.make("convnet", (8, 8, 1), 10, {"chanels": [3]})
    with pytest.raises(UserError, match=r"`network.options.channels` is 3.*\[32, 64, 128\]"):
        neoteny.networks.make("convnet", (8, 8, 1), 10, {"channels": 3})


def test_probes_of_a_growing_task_know_its_outputs_its_rows_and_its_budget(tmp_path):
    names = ["trainability", "random_labels", "budget"]
    plan = {"names": [], "start_names": names, "rows": 30}
    study = _study(
        "incremental-classes", "mlp", options={"start": 2, "step": 4}, tasks=2,
        training={"head": "masked", "epochs": 2}, probes=plan,
    )  # fmt: skip
    rows = (
        _run(study, tmp_path)
        .query("SELECT random_label_loss_start, ntk_rank_share_start, rank_share_start FROM tasks")
        .rows
    )
    assert all(loss < 10 for loss, *_ in rows)  # of labels among those that count
    assert all(0.1 < share <= 1 for row in rows for share in row[1:])
    config = expand(study)[0]
    stream, machine = prepare(config)
    first = stream(jax.random.key(0), 0)
    assert loop.steps(machine, first, config.setting.training) == 20 // 5 * 2
    assert len(loop.newest(first, 30).labels) == 20  # as many as there are, and none twice


def test_a_grown_head_starts_over_with_each_cycle_of_classes(tmp_path):
    study = _study("incremental-classes", "mlp", options={"start": 5, "step": 5}, tasks=3,
                   training={"head": "grown"})  # fmt: skip
    stream, machine = prepare(expand(study)[0])
    draw, opened = loop.Branches(0), []
    watched = machine._replace(
        trainer=machine.trainer._replace(
            begin=lambda learner, rows, key, fresh: opened.append(int(fresh.sum())) or learner
        )
    )
    learner = machine.trainer.initialise(machine.network.init(draw(loop.INITIAL, 0)))
    for index in (1, 2):
        loop.begin(watched, learner, stream(draw.stream, index), draw, index, stream)
    assert opened == [5, 10]


def test_dropout_that_nobody_counts_for_is_refused():
    study = _study("random-labels", "mlp")
    setting = study.streams["s"]
    network = setting.network.model_copy(update={"options": {"dropout": 0.5}})
    setting = setting.model_copy(update={"network": network})
    for config in expand(study.model_copy(update={"streams": {"s": setting}})):
        with pytest.raises(UserError, match="does not count"):
            prepare(config)
