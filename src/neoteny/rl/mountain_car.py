"""Mountain car: a car too weak for the hill must first back up the other side."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from neoteny.rl.environment import Discrete, Environment, Lines, Physics, Transition
from neoteny.types import PRNGKey

WALL, END, GOAL = -1.2, 0.6, 0.5
FASTEST = 0.07


class MountainCar(NamedTuple):
    """Where the car is in a valley of height `sin(3 * position)`, and its move at each step."""

    position: Float[Array, ""]
    speed: Float[Array, ""]


def mountain_car() -> Environment:
    """Drive to the left (0), not at all (1) or to the right (2), for -1 a step until the goal.

    The episode ends at a position of 0.5 or more. It starts at rest, at a position uniform between
    -0.6 and -0.4. The position stays from -1.2, where a wall stops the car, to 0.6, and the speed
    within 0.07; the observation is both.

    `physics`: `gravity`, the pull down the steepest place, and `force` of the motor, both in
    change of speed a step.

    **Source:** Moore (1990), in the form of Sutton & Barto's book; agrees with Gymnasium's
    MountainCar-v0.
    """
    return Environment(
        reset=_reset,
        observe=_observe,
        step=_step,
        observation_shape=(2,),
        actions=Discrete(3),
        physics={"gravity": 0.0025, "force": 0.001},
        horizon=200,
        threshold=-110.0,
        sketch=_sketch,
    )


def _sketch(state: MountainCar, physics: Physics) -> Lines:
    del physics
    valley = jnp.linspace(WALL, END, 41)
    ground = lambda place: jnp.stack([place, jnp.sin(3 * place) / 3], axis=-1)
    flag = ground(jnp.array(GOAL))[None] + jnp.array([[0, 0], [0, 0.2]])
    wheel = jnp.linspace(0, 2 * jnp.pi, 17)
    round_it = 0.05 * jnp.stack([jnp.cos(wheel), 1 + jnp.sin(wheel)], axis=1)
    return ground(valley), flag, ground(state.position)[None] + round_it


def _reset(key: PRNGKey, physics: Physics) -> MountainCar:
    del physics
    position = jax.random.uniform(key, (), minval=-0.6, maxval=-0.4)
    return MountainCar(position, jnp.zeros_like(position))


def _observe(state: MountainCar, physics: Physics) -> Float[Array, "2"]:
    del physics
    return jnp.stack(state)


def _step(
    key: PRNGKey, state: MountainCar, action: Integer[Array, ""] | int, physics: Physics
) -> Transition:
    del key
    push = (jnp.asarray(action) - 1) * physics["force"]
    speed = state.speed + push - physics["gravity"] * jnp.cos(3 * state.position)
    speed = jnp.clip(speed, -FASTEST, FASTEST)
    position = jnp.clip(state.position + speed, WALL, END)
    stopped = (position <= WALL) & (speed < 0)
    after = MountainCar(position, jnp.where(stopped, 0, speed))
    return Transition(after, -jnp.ones_like(position), position >= GOAL)
