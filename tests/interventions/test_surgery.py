import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.interventions import elementwise_adam, reinitialise_units
from neoteny.networks import mlp
from neoteny.types import Learner

NETWORK = mlp((6, 5, 4, 3))
MASKS = [jnp.arange(5) == 2, jnp.arange(4) >= 2]


def _after_steps(optimiser, key, steps=3):
    params = NETWORK.init(key)
    state = optimiser.init(params)
    for step in range(steps):
        draw = lambda p, at=step: jax.random.normal(jax.random.fold_in(key, at), p.shape)
        updates, state = optimiser.update(jax.tree.map(draw, params), state, params)
        params = optax.apply_updates(params, updates)
    return Learner(params, state)


def _operated(optimiser, key):
    before = _after_steps(optimiser, key)
    fresh = NETWORK.init(jax.random.key(99))
    return before, reinitialise_units(before, NETWORK.units, MASKS, fresh, optimiser), fresh


def test_only_the_chosen_units_weights_change_and_to_what_they_should(key):
    before, after, fresh = _operated(optax.sgd(0.1), key)
    old, new = before.params, after.params
    np.testing.assert_array_equal(new[0]["kernel"][:, 2], fresh[0]["kernel"][:, 2])
    np.testing.assert_array_equal(
        new[0]["kernel"][:, [0, 1, 3, 4]], old[0]["kernel"][:, [0, 1, 3, 4]]
    )
    np.testing.assert_array_equal(new[1]["kernel"][2, :2], 0)  # read by units that stay
    np.testing.assert_array_equal(new[1]["kernel"][:, 2:], fresh[1]["kernel"][:, 2:])
    np.testing.assert_array_equal(new[2]["kernel"][2:], 0)
    np.testing.assert_array_equal(new[2]["kernel"][:2], old[2]["kernel"][:2])
    np.testing.assert_array_equal(new[1]["bias"], [*old[1]["bias"][:2], 0, 0])
    np.testing.assert_array_equal(new[2]["bias"], old[2]["bias"])


def test_replacing_units_that_are_silent_changes_no_output(key):
    learner = _after_steps(optax.sgd(0.1), key)
    silent = [dict(layer) for layer in learner.params]
    silent[0]["kernel"] = silent[0]["kernel"].at[:, 2].set(0)
    silent[0]["bias"] = silent[0]["bias"].at[2].set(-1.0)
    learner = learner._replace(params=tuple(silent))
    masks = [MASKS[0], jnp.zeros(4, bool)]
    fresh = NETWORK.init(jax.random.key(5))
    after = reinitialise_units(learner, NETWORK.units, masks, fresh, optax.sgd(0.1))
    x = jax.random.normal(key, (30, 6))
    np.testing.assert_array_equal(
        NETWORK.apply(learner.params, x)[0], NETWORK.apply(after.params, x)[0]
    )
    assert not np.array_equal(learner.params[0]["kernel"], after.params[0]["kernel"])


@pytest.mark.parametrize(
    "optimiser",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.adam(1e-3),
        elementwise_adam(1e-3),
        optax.chain(optax.add_decayed_weights(1e-3), optax.adam(1e-3)),
    ],
    ids=["momentum", "adam", "elementwise-adam", "chain"],
)
def test_the_optimiser_forgets_touched_weights_and_nothing_else(key, optimiser):
    before, after, _ = _operated(optimiser, key)
    touched = _touched_by_hand()
    arrays = [
        [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
        for state in (before.opt_state, after.opt_state, optimiser.init(after.params))
    ]
    assert len(arrays[0]) in (6, 12, 24)  # one, two or four arrays for each of six parameters
    for place, (old, new, first) in enumerate(zip(*arrays, strict=True)):
        mask = touched[place % 6]
        assert not np.array_equal(old, first)
        np.testing.assert_array_equal(new, np.where(mask, first, old))
    counts = [
        [leaf for leaf in jax.tree.leaves(state) if not leaf.ndim]
        for state in (before.opt_state, after.opt_state)
    ]
    assert counts[0] == counts[1]


def _touched_by_hand():
    """Which weights belong to unit 2 of layer 1 or units 2, 3 of layer 2, leaf by leaf."""
    bias_1, kernel_1 = np.zeros(5, bool), np.zeros((6, 5), bool)
    bias_2, kernel_2 = np.zeros(4, bool), np.zeros((5, 4), bool)
    bias_3, kernel_3 = np.zeros(3, bool), np.zeros((4, 3), bool)
    bias_1[2] = kernel_1[:, 2] = kernel_2[2] = True
    bias_2[2:] = kernel_2[:, 2:] = kernel_3[2:] = True
    return [bias_1, kernel_1, bias_2, kernel_2, bias_3, kernel_3]


def test_a_reset_weight_takes_a_first_step_of_the_learning_rate_only_with_its_own_count():
    """Zeroed moments and a kept count step 3.16 times too far; the sheet's closed form."""
    gradient, params = jnp.ones(1), jnp.zeros(1)
    kept = optax.adam(1.0, eps=0.0)
    state = kept.init(params)
    advance = lambda _, state: kept.update(gradient, state, params)[1]
    state = jax.lax.fori_loop(0, 10_000, advance, state)
    zeroed = optax.tree_utils.tree_map_params(kept, jnp.zeros_like, state)
    (too_far,) = kept.update(gradient, zeroed, params)[0]
    assert np.isclose(-too_far, 0.1 / np.sqrt(0.001), rtol=1e-4)

    own = elementwise_adam(1.0, epsilon=0.0)
    (right,) = own.update(gradient, own.init(params), params)[0]
    assert np.isclose(-right, 1.0)


def test_elementwise_adam_is_adam_while_nothing_is_reset(key):
    ours, theirs = elementwise_adam(1e-2), optax.adam(1e-2)
    params = NETWORK.init(key)

    def step(states, key):
        draw = lambda p: jax.random.normal(jax.random.fold_in(key, p.size), p.shape)
        gradient = jax.tree.map(draw, params)
        outcomes = [
            optimiser.update(gradient, state, params)
            for optimiser, state in zip((ours, theirs), states, strict=True)
        ]
        return [state for _, state in outcomes], [update for update, _ in outcomes]

    start = [ours.init(params), theirs.init(params)]
    _, updates = jax.lax.scan(step, start, jax.random.split(key, 200))
    for a, b in zip(*map(jax.tree.leaves, updates), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)
