"""Acrobot: swing the tip of two links up, with a motor only at the joint between them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from neoteny.rl.environment import Discrete, Environment, Lines, Physics, Transition
from neoteny.types import PRNGKey

SECONDS = 0.2
FASTEST_FIRST = 4 * jnp.pi
FASTEST_SECOND = 9 * jnp.pi


class Acrobot(NamedTuple):
    """Radians anticlockwise, the first link from hanging, the second from the first; radians/s."""

    first: Float[Array, ""]
    second: Float[Array, ""]
    first_turning: Float[Array, ""]
    second_turning: Float[Array, ""]


def acrobot() -> Environment:
    """Turn the joint one way (0), not at all (1) or the other way (2), for -1 a step.

    The episode ends, with a reward of 0, once the tip is more than one link's length above the
    bar from which the first link hangs. It starts with each number of the state uniform within 0.1
    of 0. The observation is the cosine and sine of the first angle, of the second, and both
    speeds, which stay within 4π and 9π radians/s.

    `physics`: `gravity` in m/s²; `first_mass` and `second_mass` in kg, in the middle of each link;
    `length` of either link in m; `inertia` of either about its middle in kg m²; `torque` of the
    motor in N m. A step takes 0.2 s, as one step of the classical Runge-Kutta method.

    **Source:** Sutton (1996), with the equations of Sutton & Barto's book, which has terms that
    the paper lacks; agrees with Gymnasium's Acrobot-v1.
    """
    return Environment(
        reset=_reset,
        observe=_observe,
        step=_step,
        observation_shape=(6,),
        actions=Discrete(3),
        physics={
            "gravity": 9.8,
            "first_mass": 1.0,
            "second_mass": 1.0,
            "length": 1.0,
            "inertia": 1.0,
            "torque": 1.0,
        },
        horizon=500,
        threshold=-100.0,
        sketch=_sketch,
    )


def _sketch(state: Acrobot, physics: Physics) -> Lines:
    length, bar = physics["length"], jnp.zeros(2)
    reach = lambda angle: length * jnp.array([jnp.sin(angle), -jnp.cos(angle)])
    joint = reach(state.first)
    tip = joint + reach(state.first + state.second)
    goal = length * jnp.array([[-2.0, 1.0], [2.0, 1.0]])
    return goal, jnp.stack([bar, joint, tip])


def _reset(key: PRNGKey, physics: Physics) -> Acrobot:
    del physics
    return Acrobot(*jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1))


def _observe(state: Acrobot, physics: Physics) -> Float[Array, "6"]:
    del physics
    angles = [turn(angle) for angle in state[:2] for turn in (jnp.cos, jnp.sin)]
    return jnp.stack([*angles, *state[2:]])


def _step(
    key: PRNGKey, state: Acrobot, action: Integer[Array, ""] | int, physics: Physics
) -> Transition:
    del key
    torque = (jnp.asarray(action) - 1) * physics["torque"]
    moved = _runge_kutta(state, torque, physics)
    after = Acrobot(
        first=_wrapped(moved.first),
        second=_wrapped(moved.second),
        first_turning=jnp.clip(moved.first_turning, -FASTEST_FIRST, FASTEST_FIRST),
        second_turning=jnp.clip(moved.second_turning, -FASTEST_SECOND, FASTEST_SECOND),
    )
    terminated = -jnp.cos(after.first) - jnp.cos(after.first + after.second) > 1
    reward = jnp.where(terminated, jnp.zeros_like(after.first), -1)
    return Transition(after, reward, terminated)


def _wrapped(angle: Float[Array, ""]) -> Float[Array, ""]:
    """The same direction as an angle from -π to π."""
    return jnp.mod(angle + jnp.pi, 2 * jnp.pi) - jnp.pi


def _runge_kutta(state: Acrobot, torque: Float[Array, ""], physics: Physics) -> Acrobot:
    def ahead(seconds: float, rates: Acrobot) -> Acrobot:
        return jax.tree.map(lambda value, rate: value + seconds * rate, state, rates)

    start = _rates(state, torque, physics)
    middle = _rates(ahead(SECONDS / 2, start), torque, physics)
    again = _rates(ahead(SECONDS / 2, middle), torque, physics)
    end = _rates(ahead(SECONDS, again), torque, physics)
    mean = lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6
    return ahead(SECONDS, jax.tree.map(mean, start, middle, again, end))


def _rates(state: Acrobot, torque: Float[Array, ""], physics: Physics) -> Acrobot:
    """How fast each number of the state changes, a second."""
    gravity, length, inertia = (physics[name] for name in ("gravity", "length", "inertia"))
    first_mass, second_mass = physics["first_mass"], physics["second_mass"]
    middle = length / 2
    coupling = second_mass * length * middle
    sine, cosine = jnp.sin(state.second), jnp.cos(state.second)

    # the inertia of all about the bar, that of the second link about the joint, and their product
    alone = second_mass * middle**2 + inertia
    shared = alone + coupling * cosine
    whole = first_mass * middle**2 + second_mass * length**2 + inertia + shared + coupling * cosine

    weight_second = second_mass * middle * gravity * jnp.sin(state.first + state.second)
    weight_first = (first_mass * middle + second_mass * length) * gravity * jnp.sin(state.first)
    swing = state.second_turning * (state.second_turning + 2 * state.first_turning)
    load = weight_first + weight_second - coupling * sine * swing

    pull = torque - weight_second - coupling * sine * state.first_turning**2
    second_rate = (pull + shared / whole * load) / (alone - shared**2 / whole)
    first_rate = -(shared * second_rate + load) / whole
    return Acrobot(state.first_turning, state.second_turning, first_rate, second_rate)
