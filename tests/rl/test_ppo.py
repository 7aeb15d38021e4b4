"""PPO's loss written out row by row, and what it learns in worlds too small to hide an error."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_worlds import match_the_sign, observed_sign, one_step, reach, two_actions, two_steps

from neoteny import networks
from neoteny.config import AgentConfig
from neoteny.networks import side_by_side
from neoteny.rl import Box, Discrete, Experience, as_it_is, policy, ppo, ppo_loss
from neoteny.training import trainer

SETTINGS = AgentConfig(
    clip=0.2, value_coefficient=0.7, entropy_coefficient=0.03, seats=16, rollout=16, iterations=40
)


def _experience(key, actions, logs):
    numbers = [jax.random.normal(each, (6,)) for each in jax.random.split(key, 4)]
    return Experience(actions, logs + 0.3 * numbers[0], *numbers[1:])


@pytest.mark.parametrize("value_clip", [True, False])
@pytest.mark.parametrize("actions", [Discrete(2), Box(2, -1.0, 1.0)])
def test_the_loss_is_that_of_the_paper_row_by_row(actions, value_clip, key):
    settings = SETTINGS.model_copy(update={"value_clip": value_clip})
    acts_by = policy(actions)
    outputs = jax.random.normal(jax.random.fold_in(key, 1), (6, 3 + acts_by.deviations))
    taken = (
        jnp.array([0, 1, 1, 0, 1, 0])
        if isinstance(actions, Discrete)
        else jax.random.normal(jax.random.fold_in(key, 2), (6, 2))
    )
    logs = np.asarray(acts_by.log_probability(outputs, taken))
    seen = _experience(key, taken, logs)
    advantages = np.asarray(seen.advantages)
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    clipped_rows = 0
    for row, found in enumerate(ppo_loss(acts_by, settings)(outputs, seen)):
        ratio = np.exp(logs[row] - float(seen.log_probabilities[row]))
        inside = min(max(ratio, 0.8), 1.2)
        clipped_rows += inside != ratio
        gain = min(ratio * advantages[row], inside * advantages[row])
        value, old, goal = (float(x[row]) for x in (outputs[:, 2], seen.values, seen.returns))
        error = (value - goal) ** 2
        if value_clip:
            near = old + min(max(value - old, -0.2), 0.2)
            error = max(error, (near - goal) ** 2)
        entropy = float(acts_by.entropy(outputs)[row])
        assert float(found) == pytest.approx(0.7 * error - gain - 0.03 * entropy, abs=1e-9)
    assert 0 < clipped_rows < 6


def learnt(environment, *, seed=0, rate=0.02, **changes):
    """The network and parameters of an agent after one task."""
    agent = SETTINGS.model_copy(
        update={"entropy_coefficient": 0.0, "advantage_decay": 1.0, "discount": 0.5} | changes
    )
    algorithm = ppo(environment, agent)
    parts = {
        name: networks.make("mlp", environment.observation_shape, count, {"widths": (16,)})
        for name, count in algorithm.outputs.items()
    }
    network = side_by_side(parts, log_std=algorithm.log_std)
    learning = trainer(
        network, algorithm.loss, optax.adam(rate), batch=64, epochs=4, right=lambda *_: 0
    )
    programs = algorithm.programs(network, learning)
    key = jax.random.key(seed)
    learner = learning.initialise(network.init(key))
    world = as_it_is(environment)
    rows = programs.opening(learner, world, key)
    learner, record = programs.live(learner, world, rows, key)
    outputs = lambda *seen: network.apply(learner.params, jnp.array(seen)[:, None])[0]
    return policy(environment.actions), outputs, record


def test_values_are_learnt():
    acts_by, outputs, _ = learnt(one_step())
    np.testing.assert_allclose(acts_by.value(outputs(0.0)), [1], atol=0.05)


def test_values_depend_on_what_is_seen():
    acts_by, outputs, _ = learnt(observed_sign())
    np.testing.assert_allclose(acts_by.value(outputs(-1.0, 1.0)), [-1, 1], atol=0.1)


def test_rewards_are_discounted():
    acts_by, outputs, _ = learnt(two_steps())
    np.testing.assert_allclose(acts_by.value(outputs(0.0, 1.0)), [0.5, 1], atol=0.1)


@pytest.mark.parametrize("critic", ["separate", "shared"])
def test_the_better_action_is_learnt(critic):
    _, outputs, record = learnt(two_actions(), critic=critic)
    assert jax.nn.softmax(outputs(0.0)[0, :2])[1] > 0.95
    returns = np.asarray(record.returns) / np.asarray(record.episodes)
    assert abs(returns[0]) < 0.3 and returns[-1] > 0.9
    assert record.entropy[-1] < 0.2 < 0.6 < record.entropy[0] < 0.7


def test_the_better_action_depends_on_what_is_seen():
    _, outputs, _ = learnt(match_the_sign())
    chances = jax.nn.softmax(outputs(-1.0, 1.0)[:, :2])
    assert chances[0, 0] > 0.9 and chances[1, 1] > 0.9


def test_a_continuous_action_is_learnt():
    acts_by, outputs, record = learnt(reach(), seed=1, rate=0.005, iterations=120)
    np.testing.assert_allclose(acts_by.likeliest(outputs(-0.5, 0.5))[:, 0], [-0.5, 0.5], atol=0.2)
    assert record.entropy[-1] < record.entropy[0] - 0.5


def test_churn_is_measured_on_rows_that_were_not_learnt_from():
    _, _, still = learnt(two_actions(), rate=0.0, iterations=3)
    assert not still.policy_churn.any() and not still.value_churn.any()
    _, _, moving = learnt(two_actions(), iterations=3)
    assert (moving.policy_churn > 0).all() and (moving.value_churn > 0).all()
