"""Deep Q-learning: its targets by hand, its replay, its clockwork, and worlds of known values."""

import collections
from functools import partial

import duckdb
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tiny_worlds import TINY_WORLDS

from neoteny import loop, rl, store
from neoteny.config import AgentConfig, RunConfig, Setting, Study, changed, validated
from neoteny.errors import UserError
from neoteny.rl.dqn import epsilon_greedy_entropy
from neoteny.training import Trace, Trainer
from neoteny.types import Batch, Learner, Network

pytestmark = pytest.mark.usefixtures("compiled_once")

CHAIN = 3
"""Observations of a walk that never ends of itself: 0, 1, 2, and it is cut off."""

SMALL = {
    "kind": "dqn", "seats": 4, "rollout": 8, "iterations": 4, "reuse": 4, "replay": 200,
    "learning_starts": 32,
}  # fmt: skip
"""Of 32 acts in an iteration 128 rows are drawn, which are 8 mini-batches of 16."""


def walk() -> rl.Environment:
    """Observes the number of its steps, which reward nothing."""

    def step(key, state, action, physics):
        del key, action, physics
        return rl.Transition(state + 1, jnp.zeros(()), jnp.zeros((), bool))

    return rl.Environment(
        lambda key, physics: jnp.zeros(()),
        lambda state, physics: state[None],
        step,
        (1,),
        rl.Discrete(2),
        {},
        horizon=CHAIN,
    )


@pytest.fixture
def quick_key():
    """For programs of this module's own: compiled in half the time."""
    return jax.random.key(0, impl="unsafe_rbg")


@pytest.fixture(autouse=True)
def environments(monkeypatch):
    for name, world in (TINY_WORLDS | {"walk": walk, "one_of_them": one_of_them}).items():
        monkeypatch.setitem(rl.ENVIRONMENTS, name, world)


def config(world, method="bp", *, tasks=1, learning_rate=0.01, **agent):
    setting = {
        "tasks": tasks,
        "metric": "online_return",
        "stream": {"rule": "stationary", "environment": world},
        "network": {"widths": [8]},
        "training": {
            "optimiser": "adam",
            "learning_rate": learning_rate,
            "batch": 16,
            "order": "fixed",
        },
        "agent": SMALL | agent,
        "probes": {"names": (), "fresh_every": 0, "spectrum_every": 0},
    }
    return RunConfig(
        study="tiny", stream="world", method=method, seed=0, tasks=tasks, hyperparameters={},
        setting=validated(Setting, setting),
    )  # fmt: skip


def first_task(config, key):
    """What the first task of a run needs, but for its key."""
    worlds, machine = rl.prepare(config)
    world = worlds(key, 0)
    learner = machine.trainer.initialise(machine.network.init(key))
    return machine, (learner, world, machine.opening(learner, world, key))


def equal(trees, others):
    same = jax.tree.map(lambda one, other: bool(jnp.all(one == other)), trees, others)
    return all(jax.tree.leaves(same))


# What actions were worth


def table_network() -> Network:
    """Its parameters are the values themselves: a row for each number that may be observed."""
    apply = lambda params, inputs: (params[inputs[:, 0].astype(int)], ())
    return Network(lambda key: jnp.zeros((9, 2)), apply, ())


def acts(states, actions, rewards, following, terminated):
    column = lambda numbers: jnp.asarray(numbers, float)[:, None]
    return rl.Acts(
        column(states),
        jnp.asarray(actions, jnp.int32),
        jnp.asarray(rewards, float),
        column(following),
        jnp.asarray(terminated, bool),
    )


def worth(online, target, rows, **settings):
    settings = AgentConfig(**(SMALL | settings))
    return rl.targets(table_network(), settings, jnp.asarray(online), jnp.asarray(target), rows)


@pytest.mark.parametrize("double", [True, False])
def test_the_values_of_an_acyclic_world_are_their_own_targets(double):
    """Action `a` leads from state `s` to `s + 1 + a`, and beyond state 6 all is over."""
    rewards = np.random.default_rng(0).normal(size=(9, 2))

    def value(state, action):
        following = state + 1 + action
        ahead = 0 if following > 6 else max(value(following, 0), value(following, 1))
        return 3 * rewards[state, action] + 0.9 * ahead

    pairs = [(state, action) for state in range(7) for action in range(2)]
    states, actions = np.array(pairs).T
    values = np.full((9, 2), 1e6)  # of states that no value may come from
    values[:7] = np.array([value(*pair) for pair in pairs]).reshape(7, 2)
    following = states + 1 + actions
    rows = acts(states, actions, rewards[states, actions], following, following > 6)
    found = worth(values, values, rows, discount=0.9, reward_scale=3.0, double=double)
    np.testing.assert_allclose(found, values[states, actions], rtol=1e-12)


def test_with_double_the_network_picks_the_action_and_the_target_values_it():
    online, target = np.zeros((9, 2)), np.zeros((9, 2))
    online[1], target[1] = [3.0, 4.0], [7.0, 5.0]
    row = acts([0], [0], [1.0], [1], [False])
    assert worth(online, target, row, discount=0.5, double=True).item() == 1 + 0.5 * 5
    assert worth(online, target, row, discount=0.5, double=False).item() == 1 + 0.5 * 7


def test_only_a_terminated_episode_is_worth_nothing_more():
    values = np.full((9, 2), 2.0)
    rows = acts([0, 0], [0, 1], [1.0, 1.0], [1, 1], [True, False])
    assert worth(values, values, rows, discount=0.5).tolist() == [1.0, 2.0]


@pytest.fixture
def opening():
    """A table of values, and how an agent with such settings opens a task with it."""
    values = jnp.arange(18.0).reshape(9, 2) ** 2

    def make(**settings):
        algorithm = rl.dqn(walk(), AgentConfig(**(SMALL | settings)))
        programs = algorithm.programs(table_network(), learning(lambda learner, data: None))
        return lambda key: programs.opening(Learner(values, ()), rl.as_it_is(walk()), key)

    return values, make


def test_an_episode_cut_off_is_worth_what_it_would_have_gone_on_to(opening, quick_key):
    """The last observation before the cut has its successor's value, not a new episode's."""
    values, make = opening
    rows = make(discount=0.5)(quick_key)
    seen = rows.inputs[:, 0].astype(int)
    assert set(seen.tolist()) == set(range(CHAIN))
    assert (np.diff(seen) < 0).sum() > 8  # in no order
    np.testing.assert_allclose(rows.labels.targets, 0.5 * values[seen + 1].max(axis=1))


@pytest.mark.parametrize(("starts", "rows"), [(5, 32), (32, 32), (50, 52)])
def test_a_task_opens_with_what_learning_begins_with(opening, quick_key, starts, rows):
    found = jax.eval_shape(opening[1](learning_starts=starts), quick_key)
    assert len(found.inputs) == len(found.labels.targets) == rows  # whole steps of four seats


def test_the_loss_is_squared_and_huber_goes_on_in_a_straight_line():
    errors = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    aims = rl.Aims(jnp.ones(7, int), jnp.ones(7))

    def loss(errors, **settings):
        values = jnp.stack([jnp.full(7, 99.0), 1 + errors], axis=1)
        return rl.dqn_loss(AgentConfig(**(SMALL | settings)))(values, aims)

    assert jax.jit(loss)(errors).tolist() == [9, 1, 0.25, 0, 0.25, 1, 9]
    found, slopes_of = jax.jit(partial(jax.vjp, partial(loss, huber=True)))(errors)
    (slopes,) = slopes_of(jnp.ones(7))
    assert found.tolist() == [5, 1, 0.25, 0, 0.25, 1, 5]
    assert slopes.tolist() == [-2, -2, -1, 0, 1, 2, 2]


# How it acts


def test_exploration_falls_evenly_and_then_stays():
    settings = {"iterations": 10, "epsilon_start": 0.9, "epsilon_end": 0.1, "epsilon_share": 0.4}
    found = [rl.exploration(AgentConfig(**(SMALL | settings)), n).item() for n in range(10)]
    np.testing.assert_allclose(found, [0.9, 0.7, 0.5, 0.3, *[0.1] * 6], rtol=1e-12)
    settings["epsilon_share"] = 0.0
    assert rl.exploration(AgentConfig(**(SMALL | settings)), 0).item() == pytest.approx(0.1)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_actions_are_the_best_but_for_a_share_at_random(key, epsilon):
    rows = 30_000
    values = jnp.tile(jnp.array([[1.0, 3.0, 2.0]]), (rows, 1))
    found = np.bincount(rl.epsilon_greedy(key, values, epsilon), minlength=3)
    chances = np.full(3, epsilon / 3) + np.array([0, 1 - epsilon, 0])
    assert not found[chances == 0].any()
    possible = chances > 0
    assert (
        possible.sum() == 1
        or stats.chisquare(found[possible], rows * chances[possible]).pvalue > 1e-3
    )
    entropy = epsilon_greedy_entropy(3, epsilon)
    assert entropy == pytest.approx(stats.entropy(chances), abs=1e-12)


# What it remembers


def test_a_replay_holds_the_newest_rows_whatever_came_at_once():
    replay = rl.empty_replay({"number": jnp.zeros((1, 2))}, 7)
    newest, written = collections.deque(maxlen=7), 0
    write = jax.jit(rl.remember)
    for count in (3, 3, 3, 7, 1, 3, 7):
        numbers = written + 1 + np.arange(count)
        replay = write(replay, {"number": np.tile(numbers[:, None] * 1.0, 2)})
        newest, written = newest + collections.deque(numbers.tolist()), written + count
        held = np.asarray(replay.rows["number"])
        assert (held[:, 0] == held[:, 1]).all()
        assert sorted(set(held[:, 0].tolist()) - {0.0}) == sorted(newest)
        assert (replay.written, replay.filled) == (written, len(newest))


@pytest.mark.parametrize("written", [6, 10, 13])
def test_every_row_remembered_is_drawn_equally_often_and_no_other(key, written):
    replay, write = rl.empty_replay(jnp.zeros(1), 10), jax.jit(rl.remember)
    for number in range(1, written + 1):
        replay = write(replay, np.full(1, float(number)))
    drawn = np.asarray(rl.recall(replay, key, 50_000)).astype(int)
    counts = np.bincount(drawn)
    held = np.arange(max(1, written - 9), written + 1)
    assert set(drawn.tolist()) == set(held.tolist())
    assert stats.chisquare(counts[held]).pvalue > 1e-3


# Its clockwork


def learning(learn) -> Trainer:
    """What learns by `learn(learner, data) -> (learner, loss)` and can do nothing else."""

    def traced(learner, data, key):
        del key
        learner, loss = learn(learner, data)
        return learner, Trace(jnp.zeros(()), loss, jnp.int32(-1))

    return Trainer(traced, traced, traced)


def counted(settings, key):
    """The record of a task in which each update adds one to the value of everything.

    Its losses are the targets: as the walk has no rewards, the number of updates that the target
    network has seen. Of the second step of an episode each update changes the best action, which
    is better by so little that the targets are rounded.
    """

    def apply(params, inputs):
        other = (inputs[:, 0] == 1) & (params % 2 == 1)
        return jnp.stack([params - other / 4, params - ~other / 4], axis=1), ()

    def learn(learner, data):
        targets = jnp.round(data.labels.targets)
        loss = jnp.where(targets.min() == targets.max(), targets[0], -1)
        return learner._replace(params=learner.params + 1), loss

    network = Network(lambda key: jnp.zeros(()), apply, ())
    programs = rl.dqn(walk(), settings).programs(network, learning(learn))
    newborn, world = Learner(jnp.zeros(()), ()), rl.as_it_is(walk())
    rows = Batch(jnp.array([[0.0], [1.0], [2.0], [1.0], [0.0]]), None)
    return programs.live(newborn, world, rows, key)[1]


@pytest.mark.parametrize(
    ("settings", "waiting", "lanes", "seen"),
    [
        ({"target_every": 1, "learning_starts": 33}, 1, None, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"target_every": 2, "learning_starts": 32}, 0, None, [0, 0, 2, 2, 4, 4, 6, 6, 8]),
        ({"target_every": 4, "learning_starts": 96, "double": False}, 2, 2, [0, 0, 2, 2, 2, 2, 6]),
    ],
)
def test_nothing_is_learnt_too_early_and_targets_are_renewed_in_time(
    quick_key, settings, waiting, lanes, seen
):
    """Iteration `i` has the target network of the last multiple of `target_every`."""
    settings = AgentConfig(**(SMALL | {"discount": 1.0, "iterations": 9} | settings))
    live = partial(counted, settings)
    record = (
        jax.vmap(live)(jax.random.split(quick_key, lanes))
        if lanes
        else jax.tree.map(lambda array: array[None], live(quick_key))
    )
    of_all = lambda column: [column] * (lanes or 1)
    learnt = [0] * waiting + [1] * (9 - waiting)
    assert jnp.isnan(record.loss).tolist() == of_all([not some for some in learnt])
    assert record.loss[:, waiting:].tolist() == of_all(seen)
    assert record.value_churn.tolist() == of_all(learnt)
    assert jnp.round(record.policy_churn * 5).tolist() == of_all([2 * some for some in learnt])
    assert (record.diverged_step == -1).all()


def test_the_rows_learnt_from_are_those_of_the_last_acts(quick_key):
    """Of a replay as large as an iteration: 128 draws from its 8 steps, of which each comes."""
    settings = AgentConfig(**(SMALL | {"replay": 32, "iterations": 3}))
    endless = walk()._replace(horizon=1000)

    def learn(learner, data):
        assert len(data.inputs) == len(data.labels.targets) == 128
        return learner, 1000 * data.inputs.min() + data.inputs.max()

    algorithm = rl.dqn(endless, settings)
    assert algorithm.rows == 128
    programs = algorithm.programs(table_network(), learning(learn))
    newborn, world = Learner(jnp.zeros((30, 2)), ()), rl.as_it_is(endless)
    _, record = programs.live(newborn, world, Batch(jnp.zeros((1, 1)), None), quick_key)
    assert record.loss.tolist() == [7, 8015, 16023]
    assert record.episodes.tolist() == [0, 0, 0]


# Worlds of known values

VALUES = {
    "one_step": {0.0: [1, 1]},
    "two_steps": {0.0: [0.9, 0.9], 1.0: [1, 1]},
    "two_actions": {0.0: [-1, 1]},
    "match_the_sign": {1.0: [-1, 1], -1.0: [1, -1]},
}
LEARNING = {"iterations": 60, "reuse": 8, "epsilon_end": 0.5, "discount": 0.9, "target_every": 2}
"""At some 1,000 updates; half of the actions stay random, so that all are seen often enough."""


def one_of_them() -> rl.Environment:
    """All these worlds as one, of which its physics say which it is, so that one program learns."""
    worlds = [TINY_WORLDS[name]() for name in VALUES]

    def choose(part):
        parts = [getattr(world, part) for world in worlds]
        return lambda *arguments: jax.lax.switch(
            arguments[-1]["which"].astype(int), parts, *arguments
        )

    return worlds[0]._replace(
        reset=choose("reset"),
        observe=choose("observe"),
        step=choose("step"),
        physics={"which": 0.0},
        horizon=2,
    )


@pytest.mark.parametrize("world", VALUES)
def test_the_values_of_a_tiny_world_are_learnt(world, quick_key):
    worlds, machine = rl.prepare(config("one_of_them", learning_rate=0.02, **LEARNING))
    learner = machine.trainer.initialise(machine.network.init(jax.random.key(0)))
    which = {"which": jnp.asarray(list(VALUES).index(world), float)}
    observations, values = zip(*VALUES[world].items(), strict=True)
    inputs = jnp.resize(jnp.asarray(observations), (2, 1))
    learner, record = machine.live(
        learner, worlds(quick_key, 0)._replace(physics=which), Batch(inputs, None), quick_key
    )
    found = machine.network.apply(learner.params, inputs)[0]
    np.testing.assert_allclose(found, np.resize(values, (2, 2)), atol=0.05)
    assert (record.diverged_step == -1).all()


# In its place


@pytest.mark.parametrize("method", ["bp", "l2_er", "cbp", "spectral", "reset"])
def test_a_method_acts_on_an_agent_as_on_any_learner(method, quick_key):
    own = {"l2_er": {"every": 4}, "cbp": {"replacement_rate": 0.1, "maturity": 2}}
    asked = config("match_the_sign", method)
    asked = asked.model_copy(update={"hyperparameters": own.get(method, {})})
    machine, (learner, world, rows) = first_task(asked, quick_key)
    plain, arguments = first_task(config("match_the_sign"), quick_key)
    begun = machine.trainer.begin(learner, rows, quick_key)
    assert equal(begun.params, learner.params) == (method != "reset")
    after, record = machine.live(learner, world, rows, quick_key)
    assert np.isfinite(record.loss).all()
    unchanged = equal(after.params, plain.live(*arguments, quick_key)[0].params)
    assert unchanged == (method in ("bp", "reset"))


def test_a_life_told_twice_has_the_same_bits_and_another_key_others(quick_key):
    machine, arguments = first_task(config("match_the_sign"), quick_key)
    once, again = machine.live(*arguments, quick_key), machine.live(*arguments, quick_key)
    assert equal(once, again)
    other, _ = machine.live(*arguments, jax.random.key(1, impl="unsafe_rbg"))
    assert not equal(once[0].params, other.params)


class Killed(BaseException):
    """As a signal would: nothing that a run can answer."""


def test_a_run_killed_between_tasks_and_resumed_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "COMMIT_SECONDS", 0.0)
    asked = config("match_the_sign", tasks=4)

    def kill(done, value):
        if done in (1, 3):
            raise Killed

    assert loop.run(asked, tmp_path / "whole") == "finished"
    for _ in range(2):
        with pytest.raises(Killed):
            loop.run(asked, tmp_path / "killed", on_task=kill)
    assert loop.run(asked, tmp_path / "killed") == "finished"
    found = [_contents(tmp_path / name) for name in ("whole", "killed")]
    assert found[0] == found[1]
    assert len(found[0][1]) == 4
    assert len({row[0] for row in found[0][1]}) > 1


def _contents(folder):
    _, arrays = store.read_checkpoint(folder / "checkpoint.npz")
    rows = duckdb.sql(
        "SELECT online_return, online_loss, policy_churn, value_churn FROM "
        f"read_parquet('{folder}/tasks.parquet') ORDER BY task"
    )
    return {name: array.tobytes() for name, array in arrays.items()}, rows.fetchall()


# What cannot work

IMPOSSIBLE = [
    ({"agent.replay": 20}, r"`replay` is 20, .* 32 acts .*--set agent.replay=32` or more"),
    ({"agent.replay": 40, "agent.learning_starts": 50}, r"after 50; .*--set agent.replay=50`"),
    ({"agent.learning_starts": 129}, r"`learning_starts` is 129, but a task has 128 acts"),
    ({"agent.epsilon_start": 0.01}, r"`epsilon_end` is 0.05 .*--set agent.epsilon_end=0.01`"),
]


def study():
    setting = config("match_the_sign").setting
    return Study(name="tiny", streams={"world": setting})


@pytest.mark.parametrize(("changes", "words"), IMPOSSIBLE)
def test_an_agent_that_cannot_work_is_refused_and_told_what_can(changes, words):
    with pytest.raises(UserError, match=words):
        changed(study(), changes)
    changed(study(), changes | {"agent.kind": "ppo"})  # to which these mean nothing


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.batch": 129}, r"`training.batch` is 129, .* 128 rows .* up to 128\."),
        ({"training.batch": 41, "agent.replay": 40}, r"holds 40\. .* up to 40\."),
        ({"training.epochs": 3}, r"`training.epochs` is 3, .*epochs=1`.*--set agent.reuse=12`"),
        ({"stream.environment": "reach"}, r"vectors of 1 numbers\. Pass `--set agent.kind=ppo`"),
    ],
)
def test_what_an_agent_cannot_learn_from_is_refused_before_anything_runs(changes, words):
    asked = config("match_the_sign").model_copy(
        update={"setting": changed(study(), changes).streams["world"]}
    )
    with pytest.raises(UserError, match=words):
        rl.prepare(asked)
