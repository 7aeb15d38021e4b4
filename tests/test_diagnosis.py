"""The diagnosis of a stored run: the right parameters, before the right task."""

import json
import re

import jax
import numpy as np
import pytest

import neoteny
import tiny
from neoteny import cli, diagnosis, explanation, glossary, loop, planning
from neoteny.config import RunConfig, Setting, TrainingConfig

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run of three tasks."""
    out = tmp_path_factory.mktemp("diagnosed")
    neoteny.run(tiny.study(), methods=["snp"], seeds=1, out=out)
    (folder,) = out.rglob("seed-0")
    return folder


def test_the_next_task_is_diagnosed_from_the_checkpoint(run, monkeypatch):
    found = diagnosis.diagnose(run, rows=20)
    assert found.task == 3
    again = diagnosis.diagnose(run, task=3, rows=20)
    assert again.table == found.table


def test_an_earlier_task_is_reached_by_training_anew_with_the_same_bits(run):
    told = []
    seen = diagnosis.occasion(run, task=2)
    config, machine, stream = seen.config, seen.machine, seen.stream
    replayed = diagnosis._reached(run, seen, told.append)
    assert told == [0, 1, 2]
    draw = loop.Branches(config.seed)
    learner = machine.trainer.initialise(machine.network.init(draw(loop.INITIAL, 0)))
    for task in range(3):
        data = stream(draw.stream, task)
        learner = loop.begin(machine, learner, data, draw, task, stream)
        if task == 2:
            expected = loop.begin(machine, replayed, data, draw, task, stream)
            assert jax.tree.all(jax.tree.map(np.array_equal, learner, expected))
        learner, _ = machine.trainer.learn(learner, data.train, draw(loop.TRAINING, task))
    kept = diagnosis._reached(run, diagnosis.occasion(run), told.append)
    assert told == [0, 1, 2]
    assert jax.tree.all(jax.tree.map(np.array_equal, learner, kept))


def test_before_the_first_task_learner_and_fresh_network_are_strangers_of_one_kind(run):
    found = diagnosis.diagnose(run, task=0, rows=20)
    rows = {row["quantity"]: row for row in found.table}
    assert rows["loss"]["learner"] != rows["loss"]["fresh"]
    assert 0.5 < rows["weight_norm"]["ratio"] < 2
    assert rows["ggn_rank"]["learner"] <= 20 * 9
    assert "displacement" not in rows


@pytest.fixture
def call(monkeypatch, capsys):
    """Run `neoteny probe` here; what it printed, and its exit status."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["neoteny", "probe", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return *capsys.readouterr(), end.value.code or 0

    return call


def test_the_command_judges_in_words_explains_each_number_and_draws_the_curves(run, call):
    out, err, code = call(run, "--rows", 10)
    assert (err, code) == ("", 0)
    first, _, headline, *_ = out.splitlines()
    assert "snp on labels, seed 0, before task 3 (the next, after the 3 that it has learnt" in first
    assert "on 10 of 60 training rows" in first
    assert headline in ("Trainable within its budget, as a fresh network is.",
                        "Not trainable within its budget as a fresh network is.")  # fmt: skip
    for group in ("budget", "ggn", "hessian", "ranks", "units"):
        assert f"{glossary.GROUPS[group].title}. {glossary.GROUPS[group].what}" in out
    assert re.search(r"hessian_trace +\S+ ± \S+ +\S+ ± \S+", out)
    assert "dead_1" not in out  # but in the line of `dead`
    drawn = sorted(path.name for path in (run / "probe").iterdir())
    assert drawn == ["task-00003-ggn.png", "task-00003-hessian.png"]


def test_as_json_a_diagnosis_has_its_judgement_and_every_number(run, call):
    out, _, _ = call(run, "--rows", 10, "--task", 1, "--format", "json")
    document = json.loads(out, parse_constant=pytest.fail)
    assert (document["task"], document["finished"], document["rows"]) == (1, 3, 10)
    rows = {row["quantity"]: row for row in document["table"]}
    assert rows["dead_2"]["group"] == "units"
    assert rows["hessian_trace"]["learner_se"] > 0
    assert not any(name.endswith("_se") for name in rows)


def _found(**changes):
    """A diagnosis of a network like a fresh one but for `changes`, by quantity."""
    fresh = {"ggn_rank": 100.0, "dead": 0.1, "loss": 2.0, "guaranteed_loss": 1.0}
    rows = [
        {"group": glossary.group(name), "quantity": name, "learner": mine, "learner_se": None,
         "fresh": fresh.get(name, mine), "fresh_se": None,
         "ratio": diagnosis._ratio(mine, fresh.get(name, mine))}
        for name, mine in (fresh | changes).items()
    ]  # fmt: skip
    setting = Setting(training=TrainingConfig(optimiser=changes.pop("optimiser", "sgd")))
    config = RunConfig(study="s", stream="s", method="bp", seed=0, tasks=3, hyperparameters={},
                       setting=setting)  # fmt: skip
    return diagnosis.Diagnosed(config, 3, rows, {}, 3, 10, 60, 100)


@pytest.mark.parametrize(
    ("changes", "trainable"),
    [
        ({}, True),
        ({"ggn_rank": 51.0}, True),
        ({"ggn_rank": 49.0}, False),
        ({"dead": 0.49}, True),
        ({"dead": 0.51}, False),
        ({"guaranteed_loss": 1.49}, True),
        ({"guaranteed_loss": 1.51}, False),
        ({"ggn_rank": None, "dead": None, "guaranteed_loss": None}, None),
    ],
)
def test_a_network_is_judged_by_what_it_has_left_of_a_fresh_ones(changes, trainable):
    reading = explanation.read(_found(**changes))
    assert reading.trainable is trainable
    assert ("cannot be told" in reading.headline) == (trainable is None)


def test_a_loss_below_zero_and_an_empty_cell_are_explained_and_nothing_else_is():
    assert explanation.read(_found()).notes == ()
    (note,) = explanation.read(_found(predicted_loss=-0.1)).notes
    assert "quadratic model has left its range" in note
    (note,) = explanation.read(_found(hessian_rank=None)).notes
    assert "cannot be told" in note


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "holds no run.json"),
        ([], "Pass the folder of one run"),
        (["RUN", "--task", "-1"], "`--task` is -1, but this run has learnt 3 tasks. Pass 0 to 3"),
        (["RUN", "--task", "4"], "`--task` is 4, but this run has learnt 3 tasks. Pass 0 to 3"),
        (["RUN", "--rows", "0"], "`--rows` is 0, but a task of this run has 60 training rows"),
        (["RUN", "--rows", "61"], "Pass 1 to 60"),
        (["RUN", "--plan", "784,10"], "RUN is one too many"),
        (["--plan", "784,10", "--rows", "0"], "`--rows` is 0"),
        (["--plan", "big"], "more layer widths"),
        (["--plan", "784"], "from 1e6 on"),
        (["--plan", "784,0"], "widths"),
    ],
)
def test_what_cannot_be_diagnosed_gets_one_sentence(run, monkeypatch, capsys, words, said):
    words = [str(run) if word == "RUN" else word for word in words]
    monkeypatch.setattr("sys.argv", ["neoteny", "probe", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    err = capsys.readouterr().err
    assert end.value.code == 2
    assert err.count("\n") == 1
    assert said in err


def test_a_plan_costs_every_probe_at_the_rows_that_are_asked_for(call):
    plan = lambda rows: json.loads(
        call("--plan", "784,1000,1000,1000,10", "--rows", rows, "--format", "json")[0]
    )
    rows = {row["probe"]: row for row in plan(2000)}
    # 2.8 million parameters, 2 000 rows: three passes of two operations each
    assert 20 < rows["gradient"]["gigaflop"] < 40
    assert rows["Hessian spectrum"]["gigaflop"] > 256 * rows["Hessian product"]["gigaflop"] / 2
    for row in plan(200):
        assert row["gigaflop"] < rows[row["probe"]]["gigaflop"]
        assert row["seconds"] > 0


def test_a_plan_of_a_run_is_of_its_own_network_and_of_what_a_diagnosis_does(run, call):
    rows = {row["probe"]: row for row in json.loads(call("--plan", run, "--format", "json")[0])}
    seen = diagnosis.occasion(run)
    assert seen.rows == diagnosis.ROWS
    assert planning._layers(seen).parameters == 64 * 8 + 8 * 8 + 8 * 10  # biases cost nothing
    assert "GGN by Gram matrix" in rows
    assert "GGN spectrum" not in rows and "random labels" not in rows
    total = rows.pop("all together")
    assert total["gigaflop"] == pytest.approx(sum(row["gigaflop"] for row in rows.values()))
    assert total["gigabytes_held"] == max(row["gigabytes_held"] for row in rows.values())


def test_a_diagnosis_that_will_take_long_is_announced(run, call, monkeypatch):
    for name in ("SLOW", "_SMALL"):
        monkeypatch.setattr(planning, name, 0)
    out, err, code = call(run, "--rows", 5, "--format", "csv")
    assert code == 0
    assert err.startswith("neoteny: Measuring takes some 0 seconds and")
    assert out.startswith("group,quantity,learner")
