"""Acting: many copies of an environment side by side, each beginning anew where it ended."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from neoteny.rl.environment import Environment
from neoteny.rl.worlds import World, seen
from neoteny.types import PRNGKey, State


class Seat(NamedTuple):
    """Where one of the copies stands: its state, the steps and the rewards of this episode."""

    state: State
    steps: Int[Array, ""]
    total: Float[Array, ""]


class Rollout(NamedTuple):
    """What happened, with axes (steps, seats).

    - `observations`, `decisions`: what was seen, and what `decide` gave besides the action.
    - `following`: what the action led to, before any new episode.
    - `terminated`: the episode came to an end of its own; `ended`: so, or it was cut off.
    - `totals`: the rewards of the episode so far: where it ended, its return.
    """

    observations: Float[Array, "steps seats *shape"]
    actions: Any
    decisions: Any
    rewards: Float[Array, "steps seats"]
    following: Float[Array, "steps seats *shape"]
    terminated: Bool[Array, "steps seats"]
    ended: Bool[Array, "steps seats"]
    totals: Float[Array, "steps seats"]


def take_seats(environment: Environment, world: World, key: PRNGKey, seats: int) -> Seat:
    """So many copies, each at the beginning of an episode."""
    state = jax.vmap(environment.reset, (0, None))(jax.random.split(key, seats), world.physics)
    return Seat(state, jnp.zeros(seats, jnp.int32), jnp.zeros(seats))


def act(
    environment: Environment,
    world: World,
    decide: Callable[[PRNGKey, Float[Array, "seats *shape"]], tuple[Any, Any]],
    seats: Seat,
    key: PRNGKey,
    steps: int,
) -> tuple[Seat, Rollout]:
    """Take `steps` steps in every seat, with the actions that `decide` gives for what is seen.

    **Arguments:**

    - `decide(key, observations) -> (actions, more)`: `more` is kept beside them.
    """
    physics = world.physics
    look = jax.vmap(lambda state: seen(world, environment.observe(state, physics)))

    def one(key, seat: Seat, action):
        step_key, reset_key = jax.random.split(key)
        moved = environment.step(step_key, seat.state, action, physics)
        steps, total = seat.steps + 1, seat.total + moved.reward
        ended = moved.terminated | (steps >= environment.horizon)
        newborn = Seat(environment.reset(reset_key, physics), jnp.int32(0), jnp.zeros_like(total))
        onward = Seat(moved.state, steps, total)
        after = jax.tree.map(lambda new, old: jnp.where(ended, new, old), newborn, onward)
        return after, (moved.state, moved.reward, moved.terminated, ended, total)

    def step(seats: Seat, key):
        decide_key, move_key = jax.random.split(key)
        observations = look(seats.state)
        actions, more = decide(decide_key, observations)
        keys = jax.random.split(move_key, len(seats.steps))
        seats, (state, reward, terminated, ended, total) = jax.vmap(one)(keys, seats, actions)
        following = look(state)
        return seats, Rollout(
            observations, actions, more, reward, following, terminated, ended, total
        )

    return jax.lax.scan(step, seats, jax.random.split(key, steps))
