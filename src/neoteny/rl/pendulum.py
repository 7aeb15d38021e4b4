"""Pendulum: swing a rod up and hold it there, with a motor too weak to lift it at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neoteny.rl.environment import Box, Environment, Lines, Physics, Transition
from neoteny.types import PRNGKey

SECONDS = 0.05
FASTEST = 8.0
STRONGEST = 2.0


class Pendulum(NamedTuple):
    """Radians from upright, never wrapped, and radians/s."""

    angle: Float[Array, ""]
    turning: Float[Array, ""]


def pendulum() -> Environment:
    """Turn a rod about its end with a torque within 2 N m: the reward is the less, the farther.

    It is `-(angle² + 0.1 turning² + 0.001 torque²)`, of the state before the step and the angle
    between -π and π. No episode ends of itself. It starts at an angle uniform on the circle and a
    speed uniform within 1; the speed stays within 8. The observation is the cosine and the sine
    of the angle, and the speed.

    `physics`: `gravity` in m/s², `mass` of the rod in kg, `length` of it in m. A step takes 0.05 s,
    the angle by the new speed. No threshold is agreed.

    **Source:** the dynamics are those of a uniform rod; the rest is defined by Gymnasium's
    Pendulum-v1, with which this agrees.
    """
    return Environment(
        reset=_reset,
        observe=_observe,
        step=_step,
        observation_shape=(3,),
        actions=Box(1, -STRONGEST, STRONGEST),
        physics={"gravity": 10.0, "mass": 1.0, "length": 1.0},
        horizon=200,
        sketch=_sketch,
    )


def _sketch(state: Pendulum, physics: Physics) -> Lines:
    around = jnp.linspace(0, 2 * jnp.pi, 33)
    tip = physics["length"] * jnp.array([-jnp.sin(state.angle), jnp.cos(state.angle)])
    circle = physics["length"] * jnp.stack([jnp.cos(around), jnp.sin(around)], axis=1)
    return circle, jnp.stack([jnp.zeros(2), tip])


def _reset(key: PRNGKey, physics: Physics) -> Pendulum:
    del physics
    angle, turning = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    return Pendulum(jnp.pi * angle, turning)


def _observe(state: Pendulum, physics: Physics) -> Float[Array, "3"]:
    del physics
    return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.turning])


def _step(key: PRNGKey, state: Pendulum, action: Float[Array, "1"], physics: Physics) -> Transition:
    del key
    length = physics["length"]
    torque = jnp.clip(action[0], -STRONGEST, STRONGEST)
    away = jnp.mod(state.angle + jnp.pi, 2 * jnp.pi) - jnp.pi
    cost = away**2 + 0.1 * state.turning**2 + 0.001 * torque**2

    inertia = physics["mass"] * length**2 / 3
    fall = 1.5 * physics["gravity"] / length * jnp.sin(state.angle)
    turning = state.turning + SECONDS * (fall + torque / inertia)
    turning = jnp.clip(turning, -FASTEST, FASTEST)
    after = Pendulum(state.angle + SECONDS * turning, turning)
    return Transition(after, -cost, jnp.zeros((), bool))
