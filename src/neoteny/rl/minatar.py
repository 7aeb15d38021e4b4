"""MinAtar: four Atari games on a board of 10 by 10, as gymnax has them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from neoteny.errors import UserError, unknown
from neoteny.rl.environment import Discrete, Environment, Physics, Transition
from neoteny.rl.extras import needed
from neoteny.rl.host import AnyEnvironment
from neoteny.rl.worlds import World, Worlds, as_it_is
from neoteny.types import PRNGKey, State

GAMES = {
    "breakout": "Breakout",
    "asterix": "Asterix",
    "freeway": "Freeway",
    "space-invaders": "SpaceInvaders",
}
"""The names of gymnax. Its fifth game, Seaquest, cannot be compiled in 0.0.9."""

NEVER = 2**31 - 1


EVERY_ACTION = 6
"""Nothing, left, up, right, down and fire: all that MinAtar has, in this order."""


def minatar(game: str, *, every_action: bool = False) -> Environment:
    """A game of `GAMES`, with the actions that do something in it, and points as reward.

    The observation is 10 by 10 by the game's channels, each entry 0 or 1. What gymnax counts as
    the end of an episode at its limit of steps is here the `horizon`, no end; so Freeway never
    ends of itself. There is no `physics`.

    **Arguments:**

    - `every_action`: have all of `EVERY_ACTION`, those that do nothing in this game included.

    **Raises:** `UserError` for another game, or where gymnax is not installed.

    **Source:** Young & Tian (2019), rewritten by gymnax (Lange, 2022), without the original's
    sticky actions. Tried with gymnax 0.0.9 under JAX 0.10.2.
    """
    if game not in GAMES:
        raise unknown("game of MinAtar", game, GAMES)
    gymnax, name = needed("gymnax", f"minatar-{game}"), f"{GAMES[game]}-MinAtar"
    made, settings = gymnax.make(name, use_minimal_action_set=not every_action)
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


def all_games() -> Environment:
    """MinAtar's four games in one: which of them is played is a number of the world's.

    An action means the same in each, and boards have as many channels as the game with the most;
    those that a game does not have are 0. `physics`: `game`, its place in `GAMES`. Of a game that
    is not played nothing is computed, except where worlds that play different ones are `vmap`ped
    together.

    **Raises:** `UserError` where gymnax is not installed.
    """
    games = [minatar(name, every_action=True) for name in GAMES]
    channels = max(game.observation_shape[-1] for game in games)

    def unplayed(key: PRNGKey) -> tuple:
        """States of zeros, in the precision that holds when they are asked for."""
        shapes = [jax.eval_shape(lambda key, game=game: game.reset(key, {}), key) for game in games]
        zeros = lambda array: jnp.zeros(array.shape, array.dtype)
        return tuple(jax.tree.map(zeros, shape) for shape in shapes)

    def played(physics: Physics, branches: list, *operands):
        place = jnp.clip(jnp.asarray(physics["game"]).astype(jnp.int32), 0, len(games) - 1)
        return jax.lax.switch(place, branches, *operands)

    def put(states: tuple, place: int, state: State) -> tuple:
        return (*states[:place], state, *states[place + 1 :])

    def reset(key: PRNGKey, physics: Physics) -> tuple:
        begun = lambda place, key: put(unplayed(key), place, games[place].reset(key, {}))
        return played(physics, [partial(begun, place) for place in range(len(games))], key)

    def observe(states: tuple, physics: Physics) -> Float[Array, "10 10 channels"]:
        def board(place: int, states: tuple):
            seen = games[place].observe(states[place], {})
            return jnp.pad(seen, ((0, 0), (0, 0), (0, channels - seen.shape[-1])))

        return played(physics, [partial(board, place) for place in range(len(games))], states)

    def step(
        key: PRNGKey, states: tuple, action: Integer[Array, ""] | int, physics: Physics
    ) -> Transition:
        def moved(place: int, key, states: tuple, action):
            found = games[place].step(key, states[place], action, {})
            return found._replace(state=put(states, place, found.state))

        branches = [partial(moved, place) for place in range(len(games))]
        return played(physics, branches, key, states, jnp.asarray(action))

    return Environment(
        reset=reset,
        observe=observe,
        step=step,
        observation_shape=(10, 10, channels),
        actions=Discrete(EVERY_ACTION),
        physics={"game": 0.0},
        horizon=max(game.horizon for game in games),
    )


def minatar_sequence(
    environment: AnyEnvironment, *, games: str = "space-invaders,asterix,freeway"
) -> Worlds:
    """One game of MinAtar after the other, and then from the first one on again.

    **Arguments:**

    - `games`: which, in order, with commas between them.

    **Source:** Tang et al. (2025) have Space Invaders, Asterix and Seaquest, which cannot be
    compiled here; Freeway stands in its place.
    """
    if "game" not in environment.physics:
        raise UserError(
            "`minatar-sequence` changes the game, and this environment has only one. Pass `--set "
            "stream.environment=minatar`."
        )
    named = [name.strip() for name in games.split(",")]
    for name in named:
        if name not in GAMES:
            raise unknown("game of MinAtar", name, GAMES)
    places = jnp.array([list(GAMES).index(name) for name in named], float)
    plain = as_it_is(environment)

    def world(key: PRNGKey, index: int | Integer[Array, ""]) -> World:
        del key
        game = places[jnp.asarray(index) % len(named)]
        return plain._replace(physics={**plain.physics, "game": game})

    return world


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
