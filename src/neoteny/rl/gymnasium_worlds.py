"""Environments of Gymnasium, by the names that it has for them."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from math import prod
from typing import Any

import numpy as np

from neoteny.errors import UserError
from neoteny.rl.environment import Box, Discrete
from neoteny.rl.extras import needed
from neoteny.rl.host import ENDLESS, HostEnvironment

PREFIX = "gymnasium:"
"""What comes before an environment's own name, as in `gymnasium:CartPole-v1`."""


def gymnasium_environment(name: str) -> HostEnvironment:
    """Any environment of Gymnasium, by its own name, whose actions are numbered or vectors.

    Observations are arrays of numbers, bytes as 255ths. Vectors of actions are clipped to their
    bounds, and come one entry after the other where Gymnasium has them in another shape. There is
    no `physics`. Copies are stepped one after the other.

    **Raises:** `UserError` for a name that Gymnasium does not know, an environment that it cannot
    make here or whose observations or actions are of another kind, and where Gymnasium is not
    installed.

    **Source:** Gymnasium (Towers et al., 2024). Tried with 1.4.0.
    """
    made = _made(name)
    actions, translate = _actions(name, made.action_space)
    shape = _observation_shape(name, made.observation_space)
    spec = made.spec
    made.close()

    def make(physics: Mapping[str, float], seed: int) -> "_Copy":
        del physics
        return _Copy(_made(name), seed, shape, translate)

    return HostEnvironment(
        name=f"{PREFIX}{name}",
        make=make,
        observation_shape=shape,
        actions=actions,
        physics={},
        horizon=spec.max_episode_steps or ENDLESS,
        threshold=float("nan") if spec.reward_threshold is None else spec.reward_threshold,
    )


class _Copy:
    """An environment of Gymnasium, seeded once: its later episodes go on with its own generator."""

    def __init__(self, env: Any, seed: int, shape: tuple[int, ...], translate: Callable):
        self.env, self.seed, self.shape, self.translate = env, seed, shape, translate

    def reset(self) -> np.ndarray:
        seed, self.seed = self.seed, None
        return self._seen(self.env.reset(seed=seed)[0])

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        moved = self.env.step(self.translate(action))
        observation, reward, terminated, truncated, _ = moved
        return self._seen(observation), float(reward), bool(terminated), bool(truncated)

    def close(self) -> None:
        self.env.close()

    def _seen(self, observation: Any) -> np.ndarray:
        array = np.asarray(observation).reshape(self.shape)
        return array / 255 if array.dtype == np.uint8 else array


def _made(name: str) -> Any:
    gymnasium = _gymnasium(name)
    try:
        return gymnasium.make(name, disable_env_checker=True)
    except gymnasium.error.UnregisteredEnv as error:
        near = get_close_matches(name, gymnasium.registry, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(f'`{PREFIX}{each}`' for each in near)}?" if near else ""
        raise UserError(
            f"Gymnasium knows no environment `{name}`.{hint} All that it knows: "
            '`python -c "import gymnasium; gymnasium.pprint_registry()"`.'
        ) from error
    except (gymnasium.error.Error, ImportError) as error:
        raise UserError(
            f"Gymnasium cannot make `{name}` here: {' '.join(str(error).split())}"
        ) from error


def _gymnasium(name: str) -> Any:
    return needed("gymnasium", f"{PREFIX}{name}")


def _actions(name: str, space: Any) -> tuple[Discrete | Box, Callable[[Any], Any]]:
    """The actions of a space, and how they are told to Gymnasium."""
    spaces = _gymnasium(name).spaces
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n)), lambda action: int(action) + int(space.start)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        size, low, high = prod(space.shape), float(space.low.min()), float(space.high.max())
        return Box(size, low, high), partial(_clipped, space)
    raise UserError(
        f"The actions of `{name}` are {space}, but an agent has numbered actions (Discrete) or a "
        "vector of numbers (Box). Register it with Gymnasium in a wrapper that turns them into "
        "such."
    )


def _clipped(space: Any, action: np.ndarray) -> np.ndarray:
    shaped = np.asarray(action, space.dtype).reshape(space.shape)
    return np.clip(shaped, space.low, space.high)


def _observation_shape(name: str, space: Any) -> tuple[int, ...]:
    if isinstance(space, _gymnasium(name).spaces.Box):
        return space.shape or (1,)
    raise UserError(
        f"The observations of `{name}` are {space}, but an agent sees arrays of numbers (Box). "
        "Register it with Gymnasium in the wrapper `gymnasium.wrappers.FlattenObservation`."
    )
