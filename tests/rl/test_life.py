"""An agent's whole life, as a user starts it: stored, resumed, measured, judged and reported."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neoteny
from neoteny import diagnosis, estimate, explanation, glossary, loop, methods, planning, rl, store
from neoteny.config import RunConfig, Setting, Study, validated
from neoteny.errors import UserError
from neoteny.lockstep import alone
from neoteny.sweep import expand

pytestmark = pytest.mark.usefixtures("compiled_once")

SETTING = {
    "tasks": 3,
    "metric": "final_return",
    "stream": {"rule": "offset-observations", "environment": "cartpole"},
    "network": {"widths": [6]},
    "training": {"optimiser": "adam", "learning_rate": 0.01, "batch": 20, "epochs": 1},
    "agent": {"seats": 4, "rollout": 20, "iterations": 3},
    "probes": {
        "names": ["norms", "ranks"],
        "start_names": ["units"],
        "rows": 30,
        "fresh_every": 2,
        "spectrum_every": 2,
        "spectrum_rows": 20,
        "spectrum_steps": 4,
        "spectrum_probes": 1,
    },
}


UNFIT = ("gpm", "heterogeneous_dropout", "last_layer")
LEGAL = [name for name in methods.METHODS if name not in UNFIT]
"""The others go by what a perceptron reads, by tasks' counts or by one head, and say so."""


def study(methods=("bp",), seeds=1, **changes) -> Study:
    setting = json.loads(json.dumps(SETTING))
    for path, value in changes.items():
        *above, last = path.split("__")
        place = setting
        for step in above:
            place = place.setdefault(step, {})
        place[last] = value
    found = {"name": "tiny", "methods": methods, "seeds": seeds, "streams": {"poles": setting}}
    return validated(Study, found)


@pytest.fixture(scope="module")
def results(tmp_path_factory, compiled_once):
    out = tmp_path_factory.mktemp("results")
    return neoteny.run(study(methods=("bp", "l2_er"), seeds=2, **ER), out=out)


ER = {"hyperparameters__l2_er__every": 4}


def _table(folder):
    found = store.query(folder, "SELECT * EXCLUDE (study, stream, method) FROM tasks ORDER BY ALL")
    return found.columns, np.asarray(found.rows, float)


def test_a_life_is_told_task_by_task(results):
    assert [outcome.status for outcome in results.outcomes] == ["finished"] * 4
    names, table = _table(results.folder / "poles" / "bp" / "seed-0")
    column = dict(zip(names, table.T, strict=True))
    np.testing.assert_array_equal(column["task"], [0, 1, 2])
    for name in ("online_return", "final_return", "entropy", "policy_churn", "dead_start"):
        assert np.isfinite(column[name]).all(), name
    assert (column["final_return"] >= 1).all() and (column["episodes"] > 0).all()
    assert (column["entropy"] <= np.log(2) + 1e-9).all()
    for name in ("fresh_final_return", "untrained_return", "hessian_max_start", "ggn_max_end"):
        np.testing.assert_array_equal(np.isfinite(column[name]), [True, False, True])
    assert not np.isfinite(column["online_accuracy"]).any()


def test_every_column_is_explained(results):
    columns = store.query(results.folder, "FROM tasks").columns
    assert not [name for name in columns if glossary.entry(name) is None]


def test_methods_meet_the_same_worlds_from_the_same_weights(results):
    found = results.query(
        "SELECT seed, max(dead_start) - min(dead_start) FROM tasks WHERE task = 0 GROUP BY seed"
    )
    assert [row[1] for row in found.rows] == [0, 0]


def test_a_life_broken_off_ends_with_the_same_bits(results, tmp_path):
    config = expand(study(methods=("bp", "l2_er"), seeds=2, **ER))[0]

    class Stop(Exception):
        pass

    def stop(done, value):
        raise Stop

    loop.COMMIT_SECONDS, before = 0.0, loop.COMMIT_SECONDS
    try:
        for _ in range(2):
            with pytest.raises(Stop):
                loop.run(config, tmp_path, on_task=stop)
        assert loop.run(config, tmp_path) == "finished"
    finally:
        loop.COMMIT_SECONDS = before
    whole = results.folder / "poles" / "bp" / "seed-0"
    for name in ("checkpoint.npz", "tasks.parquet"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_seeds_together_agree_with_seeds_apart(results, tmp_path):
    changed = study(methods=("bp", "l2_er"), seeds=2, **ER)
    together = neoteny.run(changed, out=tmp_path, together=True)
    assert [outcome.status for outcome in together.outcomes] == ["finished"] * 4
    names, table = _table(tmp_path)
    others, apart = _table(results.folder)
    assert names == others
    np.testing.assert_allclose(table, apart, rtol=1e-6, atol=1e-9)


def test_the_verdict_and_the_report_speak_of_returns(results, tmp_path):
    claims = {verdict.claim for verdict in results.verdict()}
    assert claims == {"bp loses plasticity", "l2_er keeps its plasticity"}
    text = results.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Return on each task" in text and "Accuracy on each task" not in text
    assert "Mean final return over the seeds" in text  # and not in per cent


def test_the_report_shows_an_episode_of_each_method_if_asked(results, tmp_path):
    path = results.report(tmp_path / "report.html", episodes=True)
    text = path.read_text(encoding="utf-8")
    assert text.count('<div class="strip">') == 2
    assert "<b>l2_er</b>, seed 0, task 2: return " in text
    again = results.report(tmp_path / "again.html", episodes=True)
    assert again.read_text(encoding="utf-8") == text


def test_a_loss_that_is_no_number_ends_a_life_and_is_told(tmp_path):
    found = neoteny.run(study(training__learning_rate=1e300), out=tmp_path)
    assert [outcome.status for outcome in found.outcomes] == ["diverged"]
    ((step,),) = found.query("SELECT diverged_step FROM tasks WHERE diverged_step >= 0").rows
    assert step > 0


@pytest.mark.parametrize("method", LEGAL)
@pytest.mark.parametrize("environment", ["cartpole", "pendulum"])
def test_every_method_acts_on_every_kind_of_agent(method, environment):
    own = {f"hyperparameters__{method}__every": 4} if method in ("er", "l2_er") else {}
    (config,) = expand(study(methods=(method,), stream__environment=environment, **own))
    worlds, machine = rl.prepare(config)
    key = jax.random.key(0)

    def life(key):
        learner = machine.trainer.initialise(machine.network.init(key))
        world = worlds(key, 1)
        rows = machine.opening(learner, world, key)
        learner = machine.trainer.begin(learner, rows, key)
        return learner, machine.live(learner, world, rows, key)[0]

    before, after = jax.eval_shape(life, key)
    assert jax.tree.structure(before) == jax.tree.structure(after)


def test_an_inert_unit_of_actor_or_critic_is_replaced_without_a_change(key):
    import optax

    from neoteny.interventions import reinitialise_units
    from neoteny.types import Learner

    (config,) = expand(study(network__widths=[5, 4]))
    network = rl.prepare(config)[1].network
    assert [group.name for group in network.units] == [
        "actor.layer_1", "actor.layer_2", "critic.layer_1", "critic.layer_2"
    ]  # fmt: skip
    params = network.init(key)
    inputs = jax.random.normal(key, (7, 4))
    for place, group in enumerate(network.units):
        masks = [jnp.arange(other.size) == (1 if i == place else -1)
                 for i, other in enumerate(network.units)]  # fmt: skip
        head, at = group.name.split(".")[0], place % 2
        silent = jax.tree.map(jnp.copy, params)
        kernel = silent[head][at + 1]["kernel"].at[1].set(0)
        silent[head][at + 1]["kernel"] = kernel
        optimiser = optax.sgd(0.1)
        learner = Learner(silent, optimiser.init(silent))
        fresh = network.init(jax.random.fold_in(key, 1))
        after = reinitialise_units(learner, network.units, masks, fresh, optimiser)
        incoming = after.params[head][at]["kernel"]
        assert (incoming[:, 1] != silent[head][at]["kernel"][:, 1]).all()
        np.testing.assert_allclose(
            network.apply(after.params, inputs)[0], network.apply(silent, inputs)[0], atol=1e-12
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stream__environment": "cartpol"}, "cartpole"),
        ({"stream__rule": "permuted-pixels"}, "permuted-observations"),
        ({"training__batch": 100}, "`training.batch` is 100"),
        ({"training__head": "masked"}, "`training.head` is masked"),
        ({"stream__shrink": 2}, "stream.shrink"),
        ({"metric": "online_accuracy"}, "`metric` is online_accuracy"),
        ({"agent": None}, "`stream.environment` and `agent` go together"),
        ({"agent__seats": 0}, "seats"),
        ({"agent__discount": 1.5}, "discount"),
        ({"agent__iteration": 5}, "iterations"),
        ({"network__kind": "resnet"}, "image"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_run(changes, words, tmp_path):
    with pytest.raises(UserError, match=words):
        neoteny.run(study(**changes), out=tmp_path)
    assert not (tmp_path / "poles").exists()


@pytest.mark.parametrize("kind", ["ppo", pytest.param("dqn", marks=pytest.mark.further)])
def test_its_time_is_told_beforehand(kind):
    own = {"kind": kind, "reuse": 1, "learning_starts": 100}
    changes = {f"agent__{name}": value for name, value in own.items()}
    found = estimate.estimate(expand(study(seeds=2, **changes)), jobs=2)
    assert (found.runs, found.tasks) == (2, 6)
    updates = 4 * 20 // 20 * 3
    assert found.steps == 2 * (3 + 2) * updates  # two fresh agents each
    assert found.training > 0 and found.spectra > 0


def test_a_stored_life_is_diagnosed_on_what_the_agent_does(results):
    folder = results.folder / "poles" / "l2_er" / "seed-0"
    found = diagnosis.diagnose(folder, rows=40)
    rows = {row["quantity"]: row for row in found.table}
    assert (found.task, found.rows, found.available) == (3, 40, 4 * 20)
    assert "guaranteed_loss" not in rows  # of cross-entropy alone
    assert rows["hessian_max"]["learner"] != rows["hessian_max"]["fresh"]
    said = explanation.title(found)
    assert "on 40 of 80 rows of what it does there, beside a fresh agent on its own" in said
    costs = planning.of_run(folder, rows=40)
    assert {"GGN spectrum", "Hessian spectrum"} <= {row["probe"] for row in costs}


def test_an_earlier_task_of_a_life_is_reached_with_the_same_bits(results):
    folder = results.folder / "poles" / "l2_er" / "seed-0"
    kept = diagnosis._reached(folder, diagnosis.occasion(folder), lambda done: None)
    told = []
    seen = diagnosis.occasion(folder)._replace(task=2)
    before = diagnosis._reached(folder, seen, told.append)
    assert told == [0, 1, 2]
    draw, machine = loop.Branches(0), seen.machine
    world = seen.stream(draw.stream, 2)
    learner, opening = alone(rl.beginning(machine, before, world, draw, 2))
    key = jax.random.fold_in(draw(loop.TRAINING, 2), 0)
    after, _ = machine.live(learner, world, opening, key)
    assert jax.tree.all(jax.tree.map(np.array_equal, after, kept))


def test_a_setting_without_an_agent_stays_what_it_was():
    plain = Setting()
    assert plain.agent is None and plain.stream.environment is None
    RunConfig.model_validate_json(
        RunConfig(study="s", stream="s", method="bp", seed=0, tasks=1, hyperparameters={},
                  setting=plain).model_dump_json()
    )  # fmt: skip


def test_a_policy_of_vectors_begins_as_wide_as_it_is_told(key):
    (config,) = expand(study(stream__environment="pendulum", agent__deviation=0.4))
    network = rl.prepare(config)[1].network
    outputs, _ = network.apply(network.init(key), jnp.ones((2, 3)))
    np.testing.assert_allclose(outputs[:, -1], np.log(0.4))
