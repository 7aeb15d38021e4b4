"""Acting on the host: copies of an environment side by side, as `acting` has them in JAX."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax.numpy as jnp
import numpy as np

from neoteny.errors import UserError
from neoteny.rl.acting import Rollout
from neoteny.rl.host import HostEnvironment


class Seats:
    """Copies side by side, each beginning anew where it ended; to be used in a `with`.

    What happens does not depend on how many cores step them.
    """

    def __init__(self, environment: HostEnvironment, physics: Mapping[str, Any], seeds: np.ndarray):
        numbers = {name: float(value) for name, value in physics.items()}
        self.environment = environment
        self.copies = [environment.make(numbers, int(seed)) for seed in seeds]
        self.dtype = np.dtype(jnp.result_type(float))
        self.now = np.stack([copy.reset() for copy in self.copies]).astype(self.dtype)
        self.steps, self.totals = np.zeros(len(seeds), int), np.zeros(len(seeds))
        self.taken = 0
        workers = min(len(seeds), _cores()) if environment.threads else 1
        self.shares = [range(first, len(seeds), workers) for first in range(workers)]
        self.pool = ThreadPoolExecutor(workers - 1) if workers > 1 else None

    def __enter__(self) -> "Seats":
        return self

    def __exit__(self, *_: Any) -> None:
        if self.pool is not None:
            self.pool.shutdown()
        for copy in self.copies:
            copy.close()

    def act(self, choose: Callable[[int, np.ndarray], Any], steps: int) -> Rollout:
        """Take `steps` steps in every seat, acting by `choose(step, observations) -> actions`.

        `decisions` are left out. Where an action is not finite, for an agent's numbers have
        diverged, zero is done in its place.

        **Raises:** `UserError` where the environment gave an observation or a reward that is not
        finite.
        """
        found = _empty(steps, len(self.copies), self.now.shape[1:], self.dtype)
        actions = []
        for step in range(steps):
            found.observations[step] = self.now
            chosen = np.asarray(choose(step, self.now))
            actions.append(chosen)
            self._move(np.where(np.isfinite(chosen), chosen, 0), step, found)
        self.taken += steps
        self._refuse_nonsense(found)
        return found._replace(actions=np.stack(actions))

    def _move(self, actions: np.ndarray, step: int, found: Any) -> None:
        """One step in every seat, written down as number `step` of `found`."""

        def share(places: range) -> None:
            for place in places:
                self._move_one(place, actions[place], step, found)

        others = (
            [self.pool.submit(share, places) for places in self.shares[1:]] if self.pool else []
        )
        share(self.shares[0])
        for other in others:
            other.result()

    def _move_one(self, place: int, action: Any, step: int, found: Any) -> None:
        copy = self.copies[place]
        observation, reward, terminated, truncated = copy.step(action)
        self.steps[place] += 1
        self.totals[place] += reward
        ended = terminated or truncated or self.steps[place] >= self.environment.horizon
        found.following[step, place] = observation
        found.rewards[step, place] = reward
        found.terminated[step, place] = terminated
        found.ended[step, place] = ended
        found.totals[step, place] = self.totals[place]
        if ended:
            observation, self.steps[place], self.totals[place] = copy.reset(), 0, 0
        self.now[place] = observation

    def _refuse_nonsense(self, found: Any) -> None:
        flat = lambda array: array.reshape(*array.shape[:2], -1)
        seen = np.concatenate([flat(found.observations), flat(found.following)], axis=2)
        wrong = ~(np.isfinite(seen).all(axis=2) & np.isfinite(found.rewards))
        if wrong.any():
            step, seat = np.argwhere(wrong)[0]
            what = "observation" if np.isfinite(found.rewards[step, seat]) else "reward"
            raise UserError(
                f"`{self.environment.name}` gave {_article(what)} that is not a finite number, in "
                f"step {self.taken - len(wrong) + step} of the task, counted from 0, in seat "
                f"{seat}. That lies in the environment, whose actions were finite: look at its "
                "physics, or pass another `stream.environment`."
            )


def _empty(steps: int, seats: int, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A `Rollout` to be filled."""
    seen: Any = lambda: np.empty((steps, seats, *shape), dtype)
    number: Any = lambda: np.empty((steps, seats), dtype)
    mark: Any = lambda: np.empty((steps, seats), bool)
    return Rollout(seen(), None, None, number(), seen(), mark(), mark(), number())


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
