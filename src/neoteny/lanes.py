"""Doing something now and then, also where several runs go side by side under `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool


def if_due(due: Bool[Array, ""], act: Callable, idle: Callable, *operands: Any) -> Any:
    """`act` where it is due, else `idle`; under `vmap` with no work where no lane is due.

    `jax.lax.cond` alone becomes a selection there, and does both at every step.
    """
    either = lambda *operands: jax.lax.cond(due, act, idle, *operands)
    return jax.lax.cond(_in_any_lane(due), either, idle, *operands)


@custom_vmap
def _in_any_lane(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    return flag


@_in_any_lane.def_vmap
def _over_lanes(lanes: int, batched: list[bool], flags: Bool[Array, "*lanes"]):
    del lanes
    return (flags.any() if batched[0] else flags), False
