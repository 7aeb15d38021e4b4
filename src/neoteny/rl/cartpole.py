"""Cart-pole: keep a pole upright by pushing the cart that it stands on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from neoteny.rl.environment import Discrete, Environment, Lines, Physics, Transition
from neoteny.types import PRNGKey

SECONDS = 0.02
FARTHEST = 2.4
STEEPEST = 12 * jnp.pi / 180


class CartPole(NamedTuple):
    """Metres from the middle of the track, radians clockwise from upright, and their speeds."""

    position: Float[Array, ""]
    speed: Float[Array, ""]
    angle: Float[Array, ""]
    turning: Float[Array, ""]


def cartpole() -> Environment:
    """Push a cart to the left (0) or to the right (1), for a reward of 1 a step, the last included.

    The episode ends once the cart is more than 2.4 m from the middle or the pole more than 12
    degrees from upright. It starts with each number of the state uniform within 0.05 of 0; the
    observation is the state.

    `physics`: `gravity` in m/s²; `cart_mass` and `pole_mass` in kg; `half_length`, from the hinge
    to the middle of the pole, in m; `force` of a push in N. A step takes 0.02 s, by Euler's
    method.

    **Source:** Barto, Sutton & Anderson (1983), whose friction is left out, as in Gymnasium's
    CartPole-v1, with which this agrees; the equations are those that Florian (2007) corrected.
    """
    return Environment(
        reset=_reset,
        observe=_observe,
        step=_step,
        observation_shape=(4,),
        actions=Discrete(2),
        physics={
            "gravity": 9.8,
            "cart_mass": 1.0,
            "pole_mass": 0.1,
            "half_length": 0.5,
            "force": 10.0,
        },
        horizon=500,
        threshold=475.0,
        sketch=_sketch,
    )


def _reset(key: PRNGKey, physics: Physics) -> CartPole:
    del physics
    return CartPole(*jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05))


def _observe(state: CartPole, physics: Physics) -> Float[Array, "4"]:
    del physics
    return jnp.stack(state)


def _sketch(state: CartPole, physics: Physics) -> Lines:
    place, length = state.position, 2 * physics["half_length"]
    wide, high = jnp.array([-0.25, 0.25, 0.25, -0.25, -0.25]), jnp.array([0, 0, 0.25, 0.25, 0])
    tip = [place + length * jnp.sin(state.angle), 0.25 + length * jnp.cos(state.angle)]
    return (
        jnp.array([[-FARTHEST, 0.0], [FARTHEST, 0.0]]),
        jnp.stack([place + wide, high], axis=1),
        jnp.array([[place, 0.25], tip]),
    )


def _step(
    key: PRNGKey, state: CartPole, action: Integer[Array, ""] | int, physics: Physics
) -> Transition:
    del key
    push = jnp.where(action == 1, physics["force"], -physics["force"])
    acceleration, turn = _accelerations(state, push, physics)
    after = CartPole(
        position=state.position + SECONDS * state.speed,
        speed=state.speed + SECONDS * acceleration,
        angle=state.angle + SECONDS * state.turning,
        turning=state.turning + SECONDS * turn,
    )
    terminated = (jnp.abs(after.position) > FARTHEST) | (jnp.abs(after.angle) > STEEPEST)
    return Transition(after, jnp.ones_like(after.position), terminated)


def _accelerations(
    state: CartPole, push: Float[Array, ""], physics: Physics
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Of the cart in m/s², and of the pole in radians/s²."""
    pole, arm = physics["pole_mass"], physics["half_length"]
    total = physics["cart_mass"] + pole
    sine, cosine = jnp.sin(state.angle), jnp.cos(state.angle)
    rigid = (push + pole * arm * state.turning**2 * sine) / total
    turn = (physics["gravity"] * sine - cosine * rigid) / (arm * (4 / 3 - pole * cosine**2 / total))
    return rigid - pole * arm * turn * cosine / total, turn
