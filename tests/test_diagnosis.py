"""The diagnosis of a stored run: the right parameters, before the right task."""

import json

import jax
import numpy as np
import pytest

import neoteny
import tiny
from neoteny import cli, diagnosis, loop
from neoteny.machine import prepare

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
    _, machine = prepare(diagnosis._configuration(run))
    config = diagnosis._configuration(run)
    stream, _ = prepare(config)
    replayed, index = diagnosis._reached(run, config, machine, stream, 2, told.append)
    assert (index, told) == (2, [1, 2])
    draw = loop.Branches(config.seed)
    learner = machine.trainer.initialise(machine.network.init(draw(loop.INITIAL, 0)))
    for task in range(3):
        data = stream(draw.stream, task)
        learner = loop.begin(machine, learner, data, draw, task, stream)
        if task == 2:
            expected = loop.begin(machine, replayed, data, draw, task, stream)
            assert jax.tree.all(jax.tree.map(np.array_equal, learner, expected))
        learner, _ = machine.trainer.learn(learner, data.train, draw(loop.TRAINING, task))
    kept, index = diagnosis._reached(run, config, machine, stream, None, told.append)
    assert index == 3
    assert jax.tree.all(jax.tree.map(np.array_equal, learner, kept))


def test_before_the_first_task_learner_and_fresh_network_are_strangers_of_one_kind(run):
    found = diagnosis.diagnose(run, task=0, rows=20)
    rows = {row["quantity"]: row for row in found.table}
    assert rows["loss"]["learner"] != rows["loss"]["fresh"]
    assert 0.5 < rows["weight_norm"]["ratio"] < 2
    assert rows["ggn_rank"]["learner"] <= 20 * 9
    assert "displacement" not in rows


def test_the_command_prints_the_table_and_draws_the_curves(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["neoteny", "probe", str(run), "--rows", "10"])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    assert "snp on labels, seed 0, before task 3" in out
    assert "ggn_effective_rank" in out
    drawn = sorted(path.name for path in (run / "probe").iterdir())
    assert drawn == ["task-00003-ggn.png", "task-00003-hessian.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "holds no run.json"),
        ([], "Pass the folder of one run"),
        (["RUN", "--task", "-1"], "`task` is -1"),
        (["RUN", "--rows", "0"], "`rows` is 0"),
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


def test_a_plan_costs_every_probe(monkeypatch, capsys):
    words = ["neoteny", "probe", "--plan", "784,1000,1000,1000,10", "--format", "json"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit):
        cli.main()
    rows = {row["probe"]: row for row in json.loads(capsys.readouterr().out)}
    # 2.8 million parameters, 2 000 rows: three passes of two operations each
    assert 20 < rows["gradient"]["gigaflop"] < 40
    assert rows["Hessian spectrum"]["gigaflop"] > 256 * rows["Hessian product"]["gigaflop"] / 2
