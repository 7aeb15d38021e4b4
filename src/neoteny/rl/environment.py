"""What an agent acts in: an episodic problem as pure functions of a state."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Scalar

from neoteny.types import PRNGKey, State


class Discrete(NamedTuple):
    """Actions numbered from 0 to `count - 1`."""

    count: int


class Box(NamedTuple):
    """Actions that are vectors of `size` numbers from `low` to `high`."""

    size: int
    low: float
    high: float


Physics = Mapping[str, float | Scalar]
"""Named numbers of an environment, such as gravity, which a stream may change: traced, so that a
change compiles nothing."""


Lines = tuple[Float[Array, "_ 2"], ...]
"""A drawing: lines through points of a plane, x to the right and y up, in a length of its own."""


class Transition(NamedTuple):
    """What one action led to.

    `terminated`: the episode ended of itself, so nothing is worth anything after it. An episode
    that is only cut off, at its `horizon`, ends without that.
    """

    state: State
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]


class Environment(NamedTuple):
    """An episodic problem; everything about it is in its state, so any moment can be revisited.

    - `reset(key, physics) -> state`: the beginning of an episode.
    - `observe(state, physics) -> observation`: of shape `observation_shape`.
    - `step(key, state, action, physics) -> Transition`.
    - `actions`: `Discrete` or `Box`. A `Box` environment clips what it is given.
    - `physics`: the numbers that it has unless a stream changes them.
    - `horizon`: steps after which an episode is cut off.
    - `threshold`: the mean return from which its task counts as solved; NaN where none is agreed.
    - `sketch(state, physics) -> lines`: what a person would see of it; without it, what the agent
      sees is shown.
    """

    reset: Callable[[PRNGKey, Physics], State]
    observe: Callable[[State, Physics], Float[Array, "..."]]
    step: Callable[[PRNGKey, State, Any, Physics], Transition]
    observation_shape: tuple[int, ...]
    actions: Discrete | Box
    physics: Mapping[str, float]
    horizon: int
    threshold: float = float("nan")
    sketch: Callable[[State, Physics], Lines] | None = None
