"""What an agent acts in that is no pure function: it lives in Python, outside of what is compiled.

Everything random in it follows from the seeds that its copies are made with.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from neoteny.rl.environment import Box, Discrete, Environment

ENDLESS = 2**31 - 1
"""The `horizon` of an environment that knows of none."""


@runtime_checkable
class Copy(Protocol):
    """One copy of an environment, in which one episode follows another.

    It may have `sketch() -> lines` as well: what a person would see of it, as arrays (points, 2).
    """

    def reset(self) -> np.ndarray:
        """Begin an episode; the observation."""
        ...

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        """The observation that the action led to, its reward, and whether the episode terminated
        of itself, or else was cut off."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class HostEnvironment(NamedTuple):
    """An episodic problem on the host; as `Environment`, but for how it is acted in.

    - `make(physics, seed) -> Copy`: whose every random number follows from `seed`.
    - `actions`: `Discrete` or `Box`. Copies clip the vectors that they are given.
    - `horizon`: steps after which an episode is cut off, unless the copy did so before.
    - `threads`: whether a step spends its time outside of Python, so that copies can be stepped on
      several cores at once.
    """

    name: str
    make: Callable[[Mapping[str, float], int], Copy]
    observation_shape: tuple[int, ...]
    actions: Discrete | Box
    physics: Mapping[str, float]
    horizon: int = ENDLESS
    threads: bool = False
    threshold: float = float("nan")


AnyEnvironment = Environment | HostEnvironment
"""An environment in JAX, or one that is stepped on the host."""
