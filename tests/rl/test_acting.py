"""Rollouts: what follows what, where episodes end, and what is added up."""

import jax
import jax.numpy as jnp
import numpy as np
from tiny_worlds import two_steps

from neoteny.rl import Discrete, Environment, Transition, act, as_it_is, take_seats


def counting(horizon, last):
    """Observes how many steps were taken, is rewarded by it, and terminates after `last`."""

    def step(key, state, action, physics):
        del key, action, physics
        return Transition(state + 1, state + 1.0, state + 1 >= last)

    return Environment(
        lambda key, physics: jnp.zeros(()),
        lambda state, physics: state[None],
        step,
        (1,),
        Discrete(2),
        {},
        horizon,
    )


def roll(environment, steps, seats=2, world=None):
    world = as_it_is(environment) if world is None else world
    decide = lambda key, seen: (jnp.zeros(len(seen), int), seen[:, 0] * 10)
    begin, go = jax.random.split(jax.random.key(0))
    return act(environment, world, decide, take_seats(environment, world, begin, seats), go, steps)


def test_an_episode_ends_where_it_terminates_and_the_next_begins_with_the_next_step():
    seats, rollout = roll(counting(horizon=100, last=3), steps=7)
    for seat in range(2):
        np.testing.assert_array_equal(rollout.observations[:, seat, 0], [0, 1, 2, 0, 1, 2, 0])
        np.testing.assert_array_equal(rollout.following[:, seat, 0], [1, 2, 3, 1, 2, 3, 1])
        np.testing.assert_array_equal(rollout.rewards[:, seat], [1, 2, 3, 1, 2, 3, 1])
        np.testing.assert_array_equal(rollout.totals[:, seat], [1, 3, 6, 1, 3, 6, 1])
        ends = [False, False, True, False, False, True, False]
        np.testing.assert_array_equal(rollout.terminated[:, seat], ends)
        np.testing.assert_array_equal(rollout.ended[:, seat], ends)
        np.testing.assert_array_equal(rollout.decisions[:, seat], [0, 10, 20, 0, 10, 20, 0])
    np.testing.assert_array_equal(seats.steps, [1, 1])


def test_the_horizon_cuts_off_without_terminating():
    _, rollout = roll(counting(horizon=2, last=3), steps=5)
    np.testing.assert_array_equal(rollout.ended[:, 0], [False, True, False, True, False])
    assert not rollout.terminated.any()
    np.testing.assert_array_equal(rollout.following[:, 0, 0], [1, 2, 1, 2, 1])


def test_what_terminates_at_its_horizon_has_terminated():
    _, rollout = roll(two_steps(), steps=4)
    np.testing.assert_array_equal(rollout.terminated[:, 0], [False, True, False, True])


def test_acting_goes_on_where_the_last_rollout_stood():
    environment = counting(horizon=100, last=5)
    world = as_it_is(environment)
    decide = lambda key, seen: (jnp.zeros(len(seen), int), None)
    seats = take_seats(environment, world, jax.random.key(0), 1)
    seats, _ = act(environment, world, decide, seats, jax.random.key(1), 3)
    _, rollout = act(environment, world, decide, seats, jax.random.key(2), 3)
    np.testing.assert_array_equal(rollout.totals[:, 0], [10, 15, 1])


def test_what_is_seen_is_that_of_the_world_before_and_after():
    environment = counting(horizon=100, last=3)
    world = as_it_is(environment)._replace(offset=jnp.array([0.5]))
    _, rollout = roll(environment, steps=3, world=world)
    np.testing.assert_array_equal(rollout.observations[:, 0, 0], [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(rollout.following[:, 0, 0], [1.5, 2.5, 3.5])
    np.testing.assert_array_equal(rollout.rewards[:, 0], [1, 2, 3])
