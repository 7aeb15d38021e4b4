"""Distributions over actions against SciPy's, and against what they sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from neoteny.rl import Box, Discrete, policy

ROWS = 4


@pytest.fixture
def outputs(key):
    """Of a policy over three actions: their columns, the value, and three deviations."""
    return jax.random.normal(key, (ROWS, 7))


def test_a_softmax_is_the_categorical_distribution(outputs, key):
    found, logits = policy(Discrete(3)), np.asarray(outputs[:, :3])
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    actions = jnp.array([0, 2, 1, 1])
    np.testing.assert_allclose(
        found.log_probability(outputs, actions), np.log(chances[range(ROWS), actions])
    )
    np.testing.assert_allclose(found.entropy(outputs), [stats.entropy(row) for row in chances])
    other = chances[::-1]
    np.testing.assert_allclose(
        found.divergence(outputs, outputs[::-1]),
        [stats.entropy(p, q) for p, q in zip(chances, other, strict=True)],
        rtol=1e-6,
    )
    drawn = jax.vmap(lambda key: found.sample(key, outputs))(jax.random.split(key, 4000))
    for action in range(3):
        np.testing.assert_allclose((drawn == action).mean(0), chances[:, action], atol=0.03)
    np.testing.assert_array_equal(found.likeliest(outputs), logits.argmax(1))
    np.testing.assert_array_equal(found.value(outputs), outputs[:, 3])


def test_a_gaussian_is_the_normal_distribution_with_a_deviation_for_each_entry(outputs, key):
    found = policy(Box(3, -1.0, 1.0))
    assert (found.actions, found.deviations) == (3, 3)
    mean, deviation = np.asarray(outputs[:, :3]), np.exp(np.asarray(outputs[:, 4:]))
    actions = jax.random.normal(jax.random.fold_in(key, 1), (ROWS, 3))
    normal = stats.norm(mean, deviation)
    np.testing.assert_allclose(
        found.log_probability(outputs, actions), normal.logpdf(np.asarray(actions)).sum(1)
    )
    np.testing.assert_allclose(found.entropy(outputs), normal.entropy().sum(1))
    drawn = jax.vmap(lambda key: found.sample(key, outputs))(jax.random.split(key, 20_000))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.03 * deviation.max())
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.03)
    other = outputs[::-1]
    logs = jax.vmap(
        lambda actions: (
            found.log_probability(outputs, actions) - found.log_probability(other, actions)
        )
    )(drawn)
    error = 5 * logs.std(0) / np.sqrt(len(drawn))
    assert np.all(np.abs(logs.mean(0) - found.divergence(outputs, other)) < error)
    np.testing.assert_array_equal(found.likeliest(outputs), mean)


@pytest.mark.parametrize("actions", [Discrete(3), Box(3, -1.0, 1.0)])
def test_nothing_diverges_from_itself(outputs, actions):
    np.testing.assert_allclose(policy(actions).divergence(outputs, outputs), 0, atol=1e-12)
