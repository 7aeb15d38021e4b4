"""Advantages against the sum that defines them, written out step by step."""

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.rl import generalised_advantages

STEPS, SEATS = 7, 3


@pytest.fixture
def rollout():
    draw = np.random.default_rng(0)
    terminated = draw.random((STEPS, SEATS)) < 0.2
    ended = terminated | (draw.random((STEPS, SEATS)) < 0.2)
    assert terminated.any() and (ended & ~terminated).any()
    numbers = [draw.normal(size=(STEPS, SEATS)) for _ in range(3)]
    return (*map(jnp.asarray, numbers), jnp.asarray(terminated), jnp.asarray(ended))


def _by_hand(rewards, values, following, terminated, ended, discount, decay):
    """Forwards: each later error of the same episode, discounted by how far it lies ahead."""
    found = np.zeros((STEPS, SEATS))
    for seat in range(SEATS):
        for start in range(STEPS):
            for ahead in range(STEPS - start):
                t = start + ahead
                next_value = 0 if terminated[t, seat] else following[t, seat]
                error = rewards[t, seat] + discount * next_value - values[t, seat]
                found[start, seat] += (discount * decay) ** ahead * error
                if ended[t, seat]:
                    break
    return found


@pytest.mark.parametrize(("discount", "decay"), [(0.9, 0.7), (1.0, 1.0), (0.9, 0.0)])
def test_they_are_the_discounted_sum_of_errors_up_to_the_episodes_end(rollout, discount, decay):
    found = generalised_advantages(*rollout, discount=discount, decay=decay)
    np.testing.assert_allclose(found, _by_hand(*rollout, discount, decay), atol=1e-12)


def test_what_is_cut_off_still_counts_and_what_terminated_does_not():
    one = jnp.ones((1, 1))
    settings = {"discount": 0.5, "decay": 0.9}
    cut = generalised_advantages(one, 0 * one, 8 * one, one < 0, one > 0, **settings)
    over = generalised_advantages(one, 0 * one, 8 * one, one > 0, one > 0, **settings)
    assert (float(cut[0, 0]), float(over[0, 0])) == (5.0, 1.0)
