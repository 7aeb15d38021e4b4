"""MinAtar: four Atari games on a board of 10 by 10, as gymnax has them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from neoteny.errors import unknown
from neoteny.rl.environment import Discrete, Environment, Physics, Transition
from neoteny.rl.extras import needed
from neoteny.types import PRNGKey, State

GAMES = {
    "breakout": "Breakout",
    "asterix": "Asterix",
    "freeway": "Freeway",
    "space-invaders": "SpaceInvaders",
}
"""The names of gymnax. Its fifth game, Seaquest, cannot be compiled in 0.0.9."""

NEVER = 2**31 - 1


def minatar(game: str) -> Environment:
    """A game of `GAMES`, with the actions that do something in it, and points as reward.

    The observation is 10 by 10 by the game's channels, each entry 0 or 1. What gymnax counts as
    the end of an episode at its limit of steps is here the `horizon`, no end; so Freeway never
    ends of itself. There is no `physics`.

    **Raises:** `UserError` for another game, or where gymnax is not installed.

    **Source:** Young & Tian (2019), rewritten by gymnax (Lange, 2022), without the original's
    sticky actions. Tried with gymnax 0.0.9 under JAX 0.10.2.
    """
    if game not in GAMES:
        raise unknown("game of MinAtar", game, GAMES)
    made, settings = needed("gymnax", f"minatar-{game}").make(f"{GAMES[game]}-MinAtar")
    endless = settings.replace(max_steps_in_episode=NEVER)

    def reset(key: PRNGKey, physics: Physics) -> State:
        del physics
        with _lenient():
            return _arrays(made.reset_env(key, endless)[1])

    def observe(state: State, physics: Physics) -> Float[Array, "10 10 channels"]:
        del physics
        with _lenient():
            return _default_float(made.get_obs(state))

    def step(
        key: PRNGKey, state: State, action: Integer[Array, ""] | int, physics: Physics
    ) -> Transition:
        del physics
        with _lenient():
            _, after, reward, terminated, _ = made.step_env(key, state, action, endless)
            return Transition(_arrays(after), _default_float(reward), terminated)

    return Environment(
        reset=reset,
        observe=observe,
        step=step,
        observation_shape=made.obs_shape,
        actions=Discrete(made.num_actions),
        physics={},
        horizon=settings.max_steps_in_episode,
    )


@contextmanager
def _lenient() -> Iterator[None]:
    """Without what JAX warns gymnax of as it is traced: types that it lets JAX convert."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _arrays(state: State) -> State:
    """Numbers of Python as arrays, of the same types at the start as after a step."""
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.result_type(value)), state)


def _default_float(values: Array) -> Float[Array, "..."]:
    return values.astype(jnp.result_type(float))
