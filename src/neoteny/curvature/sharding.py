"""Parameters that are spread over devices, as one flat vector that stays spread."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

from neoteny.curvature.lanczos import _TILE
from neoteny.curvature.operators import ravel_params


class Layout(NamedTuple):
    """How sharded parameters lie in one flat vector, each device's own numbers together.

    - `pack(tree)`: the flat vector `(size,)`, of which every device of the mesh holds an equal
      part, made of its own shards. Arrays (or parts of them) that several devices hold copies
      of are shared out among these. Nothing is sent.
    - `unpack(vector)`: the tree again, sharded as it was; only what was shared out is sent.
    - `size`: the numbers in the vector.
    - `padding`: how many of them are zeros that fill up each device's part. For curvature they
      are parameters on which nothing depends: so many more eigenvalues of exactly zero.
    - `dtype`, `sharding`: of the vector.
    """

    pack: Callable[[PyTree], Float[Array, " size"]]
    unpack: Callable[[Float[Array, " size"]], PyTree]
    size: int
    padding: int
    dtype: Any
    sharding: NamedSharding


def layout(params: PyTree) -> Layout:
    """Lay out sharded `params` as one flat vector with no copy of it on any one device.

    A plain flattening of a sharded matrix has its rows strewn over all devices, and gathers
    them. This one is in the order of the devices, so that everything that works on a flat
    vector works on it as on one device, with only sums of single numbers sent:

        flat = layout(params)
        loss_of_flat = lambda vector: loss(flat.unpack(vector))
        spectrum = hessian_spectrum(loss_of_flat, flat.pack(params), key)
        rank = epsilon_rank(spectrum, flat.size, epsilon)

    Ranks and traces are those of the parameters. What counts zeros, as shares and
    log-determinants do, counts the padding too; Lanczos from `flat.pack(start)` never sees it.
    Each product sends what the network's own gradient would. Batched probes work, and hold
    their bases at once. Call it outside `jit`, and close over what it returns.

    **Arguments:**

    - `params`: arrays that were put on one mesh, as with `jax.device_put(params, shardings)`:
      every leaf has a `NamedSharding`, and all leaves one type, float32 or float64.

    **Raises:** `ValueError` if a leaf is on no mesh, on another mesh or of another type.
    """
    mesh, dtype = _mesh_and_type(params)
    leaves, treedef = jax.tree.flatten(params)
    specs = tuple(leaf.sharding.spec for leaf in leaves)
    places = [_place(mesh, leaf) for leaf in leaves]
    own = -(-sum(place.count for place in places) // _TILE) * _TILE
    spread = PartitionSpec(mesh.axis_names)

    def pack_own(leaves):
        parts = [_own_part(leaf, place) for leaf, place in zip(leaves, places, strict=True)]
        return _filled(jnp.concatenate(parts), own)

    def unpack_own(vector):
        ends = np.cumsum([place.count for place in places])
        parts = jnp.split(vector[: ends[-1]], ends[:-1])
        return tuple(_shard(part, place) for part, place in zip(parts, places, strict=True))

    flatten = jax.shard_map(pack_own, mesh=mesh, in_specs=(specs,), out_specs=spread)
    restore = jax.shard_map(unpack_own, mesh=mesh, in_specs=spread, out_specs=specs)
    return Layout(
        pack=jax.jit(lambda tree: flatten(tuple(treedef.flatten_up_to(tree)))),
        unpack=jax.jit(lambda vector: treedef.unflatten(restore(vector))),
        size=own * mesh.size,
        padding=own * mesh.size - sum(leaf.size for leaf in leaves),
        dtype=dtype,
        sharding=NamedSharding(mesh, spread),
    )


class _Place(NamedTuple):
    """A leaf's shard on one device, and its part of it that this device has in the vector."""

    shape: tuple[int, ...]  # of the shard
    copies: tuple[str, ...]  # the axes of the mesh along which all devices hold the same shard
    count: int  # of numbers in a device's part


def _place(mesh, leaf):
    named = jax.tree.leaves(tuple(leaf.sharding.spec))
    copies = tuple(axis for axis in mesh.axis_names if axis not in named)
    shape = leaf.sharding.shard_shape(leaf.shape)
    ways = math.prod(mesh.shape[axis] for axis in copies)
    return _Place(shape, copies, -(-math.prod(shape) // ways))


def _own_part(leaf, place):
    flat = leaf.reshape(-1)
    if not place.copies:
        return flat
    flat = _filled(flat, place.count * lax.axis_size(place.copies))
    return lax.dynamic_slice_in_dim(flat, _begin(place), place.count)


def _shard(part, place):
    """The shard from the parts of all that hold copies; by a sum, whose derivative is local."""
    if place.copies:
        empty = jnp.zeros(place.count * lax.axis_size(place.copies), part.dtype)
        mine = lax.dynamic_update_slice_in_dim(empty, part, _begin(place), 0)
        part = lax.psum(mine, place.copies)
    return part[: math.prod(place.shape)].reshape(place.shape)


def _begin(place):
    return place.count * lax.axis_index(place.copies)


def _filled(vector, size):
    return jnp.pad(vector, (0, size - vector.size))


def _mesh_and_type(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    types = {leaf.dtype for _, leaf in leaves}
    # the plain flattening's own checks, on one number of each leaf
    ravel_params(jax.tree.map(lambda leaf: jnp.zeros(1, leaf.dtype), params))
    if len(types) > 1:
        raise ValueError(
            f"`params` mixes {' and '.join(sorted(map(str, types)))}, but one flat vector has one "
            "type. Cast all leaves to the same."
        )
    meshes = set()
    for path, leaf in leaves:
        if not isinstance(getattr(leaf, "sharding", None), NamedSharding):
            raise ValueError(
                f"`params{jax.tree_util.keystr(path)}` is on no mesh. Pass concrete arrays after "
                "`jax.device_put(params, shardings)`, where each sharding is a `NamedSharding`."
            )
        meshes.add(leaf.sharding.mesh)
    if len(meshes) > 1:
        raise ValueError(
            f"`params` lie on {len(meshes)} meshes: {', '.join(str(m.shape) for m in meshes)}. "
            "Put all leaves on one; a leaf can be replicated with `PartitionSpec()`."
        )
    return meshes.pop(), types.pop()
