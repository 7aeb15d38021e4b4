"""Which units still answer to their inputs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neoteny.types import Network, Params, Snapshot, UnitGroup


class UnitHealth(NamedTuple):
    """Shares of each hidden layer's units, from 0 to 1; a unit may count in all three.

    - `dead`: the activation is exactly zero on every row.
    - `dormant`: the mean size of the activation is at most `tau` of the layer's mean.
    - `saturated`: the mean size of the activation function's slope is below `slope`.
    """

    dead: Float[Array, " layers"]
    dormant: Float[Array, " layers"]
    saturated: Float[Array, " layers"]


def units(snapshot: Snapshot) -> UnitHealth:
    """Measure the `unit_health` of every hidden layer on the snapshot's rows."""
    return unit_health(snapshot.network, snapshot.params, snapshot.batch.inputs)


def unit_health(
    network: Network,
    params: Params,
    inputs: Float[Array, "rows ..."],
    *,
    tau: float = 0.025,
    slope: float = 0.01,
) -> UnitHealth:
    """Count the units of each hidden layer that are dead, dormant or saturated on `inputs`.

    Dead depends on the number of rows: a unit silent on 100 rows may speak on 2000. Slopes
    are exact for every activation: the derivative of a unit's activation by the array added
    just before it, found with one forward-mode pass for each layer. A layer of NaN gives NaN.

    **Arguments:**

    - `tau`: the bound on dormancy; the source also uses 0 and 0.1.
    - `slope`: the bound on saturation, in units of activation per unit of pre-activation.

    **Raises:** `ValueError` if `inputs` has no rows, or a unit group's `shift` names no array
    of `params`.

    **Source:** Sokar et al. (2023) for dormancy. Saturation is our general form of counting
    tanh units beyond 0.99, which sees a GELU or a SiLU stuck on its flat side too.
    """
    if inputs.shape[0] == 0:
        raise ValueError(
            f"`inputs` has shape {inputs.shape}, but units are judged on at least one row. "
            "Pass a batch that has rows."
        )
    _, features = network.apply(params, inputs)
    layers = [
        (
            _share(jnp.all(layer == 0, axis=0), layer),
            _share(_dormant(layer, tau), layer),
            _share(_mean_size(_slopes(network, params, inputs, index)) < slope, layer),
        )
        for index, layer in enumerate(features)
    ]
    return UnitHealth(*(jnp.array([layer[i] for layer in layers]) for i in range(3)))


def firing_rates(
    network: Network, params: Params, inputs: Float[Array, "rows ..."]
) -> tuple[Float[Array, " units"], ...]:
    """Of each unit of each hidden layer, the share of rows on which its activation is positive.

    Costs one forward pass, as when nothing is learnt: without dropout.
    """
    _, features = network.apply(params, inputs)
    return tuple(jnp.mean(layer > 0, axis=0, dtype=layer.dtype) for layer in features)


def activation_overlap(
    rates: Float[Array, " units"], past: Float[Array, " units"]
) -> Float[Array, ""]:
    """The cosine between a task's firing rates and what was counted of tasks before.

    From 0, where no unit serves both, to 1, where all are used in the same proportions. NaN where
    one of them has no unit that fires.

    **Source:** after Abbasi et al. (2022), who make tasks overlap less by heterogeneous dropout.
    """
    size = jnp.linalg.norm(rates) * jnp.linalg.norm(past)
    return jnp.where(size > 0, rates @ past / jnp.where(size > 0, size, 1.0), jnp.nan)


def _share(found, layer):
    finite = jnp.all(jnp.isfinite(layer))
    return jnp.where(finite, jnp.mean(found, dtype=layer.dtype), jnp.nan)


def _dormant(layer, tau):
    sizes = _mean_size(layer)
    return sizes <= tau * jnp.mean(sizes)  # and so every unit of a layer that is all zero


def _mean_size(layer):
    return jnp.mean(jnp.abs(layer), axis=0)


def _slopes(network, params, inputs, index):
    group = network.units[index]
    shift, with_shift = _shift_of(params, group)
    features = lambda moved: network.apply(with_shift(moved), inputs)[1][index]
    return jax.jvp(features, (shift,), (jnp.ones_like(shift),))[1]


def _shift_of(params: Params, group: UnitGroup):
    """The array at `group.shift`, and the function that puts another in its place."""
    leaves, treedef = jax.tree.flatten_with_path(params)
    paths = [tuple(_name(key) for key in path) for path, _ in leaves]
    arrays = [array for _, array in leaves]
    if group.shift not in paths:
        raise ValueError(
            f"The unit group {group.name!r} has the `shift` {group.shift}, but the parameters' "
            f"arrays are at {', '.join(map(str, paths))}. Name the one of these that is added "
            "just before the activation."
        )
    place = paths.index(group.shift)
    replaced = lambda array: treedef.unflatten([*arrays[:place], array, *arrays[place + 1 :]])
    return arrays[place], replaced


def _name(key):
    """The dictionary key, index or attribute that a step of a tree path stands for."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key
