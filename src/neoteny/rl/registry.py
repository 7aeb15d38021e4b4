"""Environments, and the streams of worlds made of them, by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

from neoteny.errors import UserError, of_kind, unknown
from neoteny.rl.acrobot import acrobot
from neoteny.rl.ant import ant, ant_euler, ant_v5
from neoteny.rl.cartpole import cartpole
from neoteny.rl.environment import Environment
from neoteny.rl.gymnasium_worlds import PREFIX, gymnasium_environment
from neoteny.rl.host import AnyEnvironment, HostEnvironment
from neoteny.rl.minatar import GAMES, all_games, minatar, minatar_sequence
from neoteny.rl.mountain_car import mountain_car
from neoteny.rl.pendulum import pendulum
from neoteny.rl.slippery import slippery
from neoteny.rl.worlds import (
    Worlds,
    changing_physics,
    offset_observations,
    permuted_observations,
    stationary,
)

ENVIRONMENTS: dict[str, Callable[[], Environment]] = {
    "cartpole": cartpole,
    "acrobot": acrobot,
    "mountain-car": mountain_car,
    "pendulum": pendulum,
    **{f"minatar-{game}": partial(minatar, game) for game in GAMES},
    "minatar": all_games,
}
"""Environments by name; add your own here."""

HOST_ENVIRONMENTS: dict[str, Callable[[], HostEnvironment]] = {
    "slippery-ant": ant,
    "slippery-ant-euler": ant_euler,
    "slippery-ant-v5": ant_v5,
}
"""Those that are no pure functions, by name; beside them `gymnasium:ID` for any of Gymnasium."""

WORLDS: dict[str, Callable[..., Worlds]] = {
    "offset-observations": offset_observations,
    "permuted-observations": permuted_observations,
    "changing-physics": changing_physics,
    "slippery": slippery,
    "minatar-sequence": minatar_sequence,
    "stationary": stationary,
}
"""Streams of worlds by name, each `(environment, **options) -> Worlds`; add your own here."""


def make_environment(name: str) -> AnyEnvironment:
    """The environment called `name`, also one of Gymnasium's, as `gymnasium:CartPole-v1`.

    **Raises:** `UserError` if there is none of that name, or it needs what is not installed.
    """
    return constructor(name)()


def constructor(name: str) -> Callable[[], AnyEnvironment]:
    """What makes the environment called `name`; the same object whenever it is asked for."""
    if name.startswith(PREFIX):
        return _of_gymnasium(name.removeprefix(PREFIX))
    known = {**ENVIRONMENTS, **HOST_ENVIRONMENTS}
    if name not in known:
        raise unknown("environment", name, [*known, f"{PREFIX}CartPole-v1 and the like"])
    return known[name]


@lru_cache(maxsize=64)
def _of_gymnasium(name: str) -> Callable[[], HostEnvironment]:
    return partial(gymnasium_environment, name)


def on_host(name: str | None) -> bool:
    """Whether an environment of that name is stepped on the host, by no compiled function."""
    return name is not None and (name.startswith(PREFIX) or name in HOST_ENVIRONMENTS)


def make_worlds(
    rule: str, environment: AnyEnvironment, options: Mapping[str, Any] = MappingProxyType({})
) -> Worlds:
    """The stream of worlds that the rule called `rule` makes of `environment`.

    **Raises:** `UserError` if `rule` is not a key of `WORLDS`, for an option that it does not have,
    or an impossible value.
    """
    if rule not in WORLDS:
        raise unknown("stream rule for agents", rule, WORLDS)
    defaults = world_defaults(rule)
    values = {}
    for field, value in options.items():
        if field not in defaults:
            if not defaults:
                raise UserError(f"`{rule}` takes no options, so leave out `{field}`.")
            raise unknown(f"option of `{rule}` called", field, defaults)
        values[field] = of_kind(f"{rule}.{field}", value, defaults[field])
    return WORLDS[rule](environment, **values)


def world_defaults(rule: str) -> dict[str, Any]:
    """A rule's options and their values unless changed."""
    parameters = inspect.signature(WORLDS[rule]).parameters.values()
    return {part.name: part.default for part in parameters if part.kind is part.KEYWORD_ONLY}
