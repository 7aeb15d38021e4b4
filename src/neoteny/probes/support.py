"""How many different features a hidden layer has learnt."""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from neoteny.types import Params, Place, Snapshot

MASS, COSINE = 0.9, 0.95
"""The share of a layer's mass that counts, and from where on two directions are one."""


class FeatureSupport(NamedTuple):
    """The number of distinct directions that carry nine tenths of each hidden layer's mass."""

    feature_support: Float[Array, " layers"]


def feature_support(snapshot: Snapshot) -> FeatureSupport:
    """Count the directions of the units that matter in each hidden layer.

    A unit's direction is that of its incoming weights and bias, its mass `|incoming| |outgoing|`;
    units whose directions have a cosine of 0.95 or more are one. Where features were learnt few
    directions are left; random features have nearly as many as the layer has units. Needs a
    network that says where its units' weights are; NaN for a layer of which it does not, or that
    has no mass. Costs at most `units` products of the kernel with a vector for each layer.

    **Source:** ours, after the sparse measures that Chizat & Bach (2020) show to maximise margin.
    """
    counts = [
        _of_layer(snapshot.params, group.incoming, group.outgoing)
        for group in snapshot.network.units
    ]
    return FeatureSupport(jnp.array(counts))


def distinct_directions(
    directions: Float[Array, "units inputs"],
    mass: Float[Array, " units"],
    *,
    share: float = MASS,
    cosine: float = COSINE,
) -> Int[Array, ""]:
    """Count the distinct directions, heaviest first, that together carry `share` of the mass.

    Each time the heaviest unit left takes along all that are left within its cosine. Zero where
    there is no mass.
    """
    lengths = jnp.linalg.norm(directions, axis=1, keepdims=True)
    units = directions / jnp.where(lengths > 0, lengths, 1)
    bound = (1 - share) * jnp.sum(mass) * (1 + 1e-6)

    def more(state):
        left, _ = state
        return jnp.sum(left) > bound

    def take(state):
        left, count = state
        heaviest = jnp.argmax(left)
        near = (units @ units[heaviest] >= cosine).at[heaviest].set(True)
        return jnp.where(near, 0, left), count + 1

    return jax.lax.while_loop(more, take, (mass, jnp.int32(0)))[1]


def _of_layer(params: Params, incoming: tuple[Place, ...], outgoing: tuple[Place, ...]):
    if not incoming or not outgoing:
        return jnp.nan
    into, out = (_by_unit(params, places) for places in (incoming, outgoing))
    mass = jnp.linalg.norm(into, axis=1) * jnp.linalg.norm(out, axis=1)
    count = distinct_directions(into, mass).astype(mass.dtype)
    return jnp.where(jnp.sum(mass) > 0, count, jnp.nan)


def _by_unit(params: Params, places: tuple[Place, ...]) -> Float[Array, "units _"]:
    """All that these places hold, a row for each unit."""
    rows = []
    for place in places:
        first = jnp.moveaxis(reduce(_step, place.path, params), place.axis, 0)
        units = first.shape[0] // place.places
        parted = jnp.moveaxis(first.reshape(place.places, units, -1), 1, 0)
        rows.append(parted.reshape(units, -1))
    return jnp.concatenate(rows, axis=1)


def _step(tree: Any, name: str | int) -> Any:
    """One step of the path to an array: a key or a place, else an attribute."""
    try:
        return tree[name]
    except (TypeError, KeyError):
        return getattr(tree, str(name))
