"""Observations are brought to mean 0 and variance 1 by what was seen, and nothing else is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import rl
from neoteny.config import RunConfig, Setting
from neoteny.lockstep import alone
from neoteny.networks import mlp
from neoteny.rl.normaliser import FARTHEST, by, normalised, nothing_seen, watched
from neoteny.types import Learner, View, bound

pytestmark = pytest.mark.usefixtures("compiled_once")


def seen_of(parts):
    learner = Learner((), (), network_state=nothing_seen(parts[0].shape[2:]))
    for part in parts:
        learner = watched(learner, jnp.asarray(part))
    return learner.network_state


def test_the_statistics_are_those_of_all_that_was_seen():
    draw = np.random.default_rng(0)
    parts = [draw.normal(100, 3, (steps, 2, 5)) for steps in (4, 1, 30)]
    seen, all_rows = seen_of(parts), np.concatenate(parts).reshape(-1, 5)
    assert seen.count == len(all_rows)
    np.testing.assert_allclose(seen.mean, all_rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(seen.squares / seen.count, all_rows.var(0), rtol=1e-9)
    scaled = by(seen, jnp.asarray(all_rows))
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-6)


def test_what_was_never_seen_is_cut_off_and_what_never_varied_is_zero():
    seen = seen_of([np.stack([np.ones((5, 1)), np.arange(5.0)[:, None]], axis=2)])
    found = by(seen, jnp.array([[1.0, 1e9], [1.0, 2.0]]))
    np.testing.assert_allclose(found, [[0, FARTHEST], [0, 0]])


def test_nothing_is_changed_before_anything_was_seen_and_inputs_alone_after_it(key):
    plain = mlp((3, 4, 2))
    network, inputs = normalised(plain, (3,)), jnp.arange(6.0).reshape(2, 3)
    params = plain.init(key)
    jax.tree.map(
        np.testing.assert_array_equal, network.apply(params, inputs), plain.apply(params, inputs)
    )
    seen = seen_of([np.random.default_rng(1).normal(5, 2, (9, 1, 3))])
    found = bound(network, View(seen)).apply(params, inputs)[0]
    np.testing.assert_allclose(found, plain.apply(params, by(seen, inputs))[0])
    assert network.units == plain.units


DQN = {"kind": "dqn", "learning_starts": 20, "replay": 40}


def life(kind, agent, tasks=3):
    setting = Setting.model_validate(
        {
            "tasks": tasks,
            "metric": "final_return",
            "stream": {"rule": "offset-observations", "environment": "cartpole"},
            "network": {"widths": [4]},
            "training": {"optimiser": "adam", "batch": 10},
            "agent": {"seats": 2, "rollout": 10, "iterations": 2, "normaliser": kind, **agent},
        }
    )
    return RunConfig(
        study="s", stream="s", method="bp", seed=0, tasks=tasks, hyperparameters={}, setting=setting
    )


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("carried", [40, 80, 120]), ("reset", [40, 40, 40]), ("frozen", [40, 40, 40])],
)
@pytest.mark.parametrize("agent", [{}, pytest.param(DQN, marks=pytest.mark.further)])
def test_at_a_task_change_it_goes_on_or_begins_anew_or_stays(kind, counts, agent, key):
    worlds, machine = rl.prepare(life(kind, agent))
    draw = rl.life.Branches(0)
    learner = machine.trainer.initialise(machine.network.init(key))
    states = []
    for index in range(3):
        world = worlds(key, index)
        learner, opening = alone(rl.beginning(machine, learner, world, draw, index))
        learner, _ = machine.live(learner, world, opening, draw(0, index))
        states.append(learner.network_state)
    assert [int(state.count) for state in states] == counts
    moved = [not np.array_equal(states[0].mean, state.mean) for state in states[1:]]
    assert moved == [kind != "frozen"] * 2
