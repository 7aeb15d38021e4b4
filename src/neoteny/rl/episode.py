"""One episode of an agent, as a few moments that a person can look at."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neoteny.rl.environment import Environment
from neoteny.rl.host import AnyEnvironment, Copy, HostEnvironment
from neoteny.rl.worlds import World, seen
from neoteny.types import PRNGKey

FRAMES = 10


class Frame(NamedTuple):
    """One moment: `lines` through points (points, 2), or a `board` (height, width).

    A cell of a board is the number of the last channel that is on there, counted from 1, or 0.
    Where an environment draws no sketch, the lines are one: the entries that the agent sees.
    """

    step: int
    lines: tuple[np.ndarray, ...] = ()
    board: np.ndarray | None = None


class Episode(NamedTuple):
    """An episode from its beginning to its end."""

    frames: tuple[Frame, ...]
    steps: int
    total: float


def play(
    environment: AnyEnvironment,
    choose: Callable[[PRNGKey, np.ndarray], Any],
    world: World,
    key: PRNGKey,
    *,
    frames: int = FRAMES,
) -> Episode:
    """Act one episode in `world`, and keep so many moments, evenly spaced, its end included.

    `choose(key, observations) -> actions`, for one row of observations as the agent sees them.

    Nothing is learnt. Costs a compiled call or two for each step.
    """
    copy, moments, total, over = _copy(environment, world.physics, key), [], 0.0, False
    observation = copy.reset()
    while True:
        observed = np.asarray(seen(world, jnp.asarray(observation, float)))
        moments.append((getattr(copy, "sketch", lambda: ())(), observed))
        if over:
            break
        own = jax.random.fold_in(key, len(moments))
        action = np.asarray(choose(own, observed[None]))[0]
        observation, reward, terminated, truncated = copy.step(action)
        total += reward
        over = terminated or truncated or len(moments) >= environment.horizon
    copy.close()
    kept = np.unique(np.linspace(0, len(moments) - 1, frames).round().astype(int))
    drawn = tuple(_frame(int(step), *moments[step]) for step in kept)
    return Episode(drawn, len(moments) - 1, total)


def _frame(step: int, lines: tuple, observed: np.ndarray) -> Frame:
    if lines:
        return Frame(step, tuple(np.asarray(line, float) for line in lines))
    if observed.ndim == 3:
        numbers = np.arange(1, observed.shape[-1] + 1)
        return Frame(step, board=((observed > 0) * numbers).max(-1))
    entries = observed.ravel()
    return Frame(step, (np.stack([np.arange(len(entries)), entries], axis=1),))


def _copy(environment: AnyEnvironment, physics: Mapping[str, Any], key: PRNGKey) -> Copy:
    if isinstance(environment, HostEnvironment):
        numbers = {name: float(value) for name, value in physics.items()}
        return environment.make(numbers, int(jax.random.bits(key, (), jnp.uint32)))
    return _Compiled(environment, physics, key)


class _Compiled:
    """A compiled environment as a copy on the host."""

    def __init__(self, environment: Environment, physics: Mapping[str, Any], key: PRNGKey):
        self.environment, self.physics = environment, physics
        self.key, self.state = jax.random.split(key)[0], None
        self.move, self.look = jax.jit(environment.step), jax.jit(environment.observe)
        self.draw = jax.jit(environment.sketch or (lambda state, physics: ()))

    def reset(self) -> np.ndarray:
        self.state = self.environment.reset(self._drawn(), self.physics)
        return np.asarray(self.look(self.state, self.physics))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        moved = self.move(self._drawn(), self.state, action, self.physics)
        self.state = moved.state
        observation = np.asarray(self.look(self.state, self.physics))
        return observation, float(moved.reward), bool(moved.terminated), False

    def sketch(self) -> tuple[Any, ...]:
        return self.draw(self.state, self.physics)

    def close(self) -> None:
        pass

    def _drawn(self) -> PRNGKey:
        self.key, own = jax.random.split(self.key)
        return own
