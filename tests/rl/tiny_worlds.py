"""Environments so small that only one thing can be wrong with an agent at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from neoteny.rl import Box, Discrete, Environment, Transition


def one_step() -> Environment:
    """The observation is 0 and the reward 1: its value is 1, whatever the discount."""
    return _once(lambda key: jnp.zeros(()), lambda seen, action: jnp.ones(()), Discrete(2))


def observed_sign() -> Environment:
    """The reward is the observation, 1 or -1: so is its value."""
    return _once(_sign, lambda seen, action: seen, Discrete(2))


def two_actions() -> Environment:
    """Action 1 is worth 1 and action 0 is worth -1."""
    return _once(lambda key: jnp.zeros(()), lambda seen, action: _signed(action), Discrete(2))


def match_the_sign() -> Environment:
    """Where 1 is observed action 1 is worth 1, and where -1 is, action 0; the other one -1."""
    return _once(_sign, lambda seen, action: seen * _signed(action), Discrete(2))


def reach() -> Environment:
    """The best action is the observation, uniform within 1: the reward is 0 there."""
    return _once(
        lambda key: jax.random.uniform(key, (), minval=-1.0, maxval=1.0),
        lambda seen, action: -((jnp.clip(action[0], -2.0, 2.0) - seen) ** 2),
        Box(1, -2.0, 2.0),
    )


def two_steps() -> Environment:
    """Observes 0, then 1, and is rewarded by 1 at the end: worth the discount, then 1."""

    def step(key, state, action, physics):
        del key, action, physics
        return Transition(jnp.ones_like(state), state, state > 0)

    return _world(lambda key, physics: jnp.zeros(()), step, Discrete(2), horizon=2)


TINY_WORLDS: dict[str, Callable[[], Environment]] = {
    world.__name__: world
    for world in (one_step, observed_sign, two_steps, two_actions, match_the_sign, reach)
}


def _once(draw, reward, actions) -> Environment:
    """`draw(key)` is observed, `reward(seen, action)` is had, and all is over."""

    def step(key, state, action, physics):
        del key, physics
        return Transition(state, reward(state, action), jnp.ones((), bool))

    return _world(lambda key, physics: draw(key), step, actions, horizon=1)


def _world(reset, step, actions, horizon) -> Environment:
    """The state is one number, and observed."""
    observe = lambda state, physics: state[None]
    return Environment(reset, observe, step, (1,), actions, {}, horizon, threshold=0.9)


def _sign(key):
    return jax.random.rademacher(key, (), jnp.result_type(float))


def _signed(action):
    return jnp.where(action == 1, jnp.ones(()), -1)
