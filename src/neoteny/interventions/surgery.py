"""Editing chosen units of a learner: their weights and all that the optimiser remembers of them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PyTree

from neoteny.errors import UserError
from neoteny.types import Learner, Params, Place, State, UnitGroup

Path = tuple[str | int, ...]
Masks = Sequence[Bool[Array, " _"]]  # one mask for each layer, of that layer's size


def at(tree: PyTree, path: Path) -> Array:
    """The array of `tree` that `path` leads to."""
    for leaf_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if names(leaf_path) == path:
            return leaf
    raise KeyError(path)


def add_at(tree: PyTree, amounts: dict[Path, Array]) -> PyTree:
    """`tree` with an amount added to each array that `amounts` names."""

    def add(path, leaf):
        return leaf + amounts[names(path)] if names(path) in amounts else leaf

    return jax.tree_util.tree_map_with_path(add, tree)


def by_unit(array: Array, place: Place) -> Float[Array, "units places ..."]:
    """The array at `place` with its units first, then the places at which each comes again."""
    first = jnp.moveaxis(array, place.axis, 0)
    return jnp.moveaxis(first.reshape(place.places, -1, *first.shape[1:]), 1, 0)


def reinitialise_units(
    learner: Learner,
    groups: Sequence[UnitGroup],
    masks: Masks,
    fresh: Params,
    optimiser: optax.GradientTransformation,
    *,
    statistics: State = (),
) -> Learner:
    """Give the masked units new incoming and zero outgoing weights, and forget their moments.

    With zero outgoing weights the outputs no longer depend on the unit, so replacing one that
    was silent changes no output. A weight between two replaced units counts as incoming. All
    entries of the optimiser's state that belong to a touched weight return to what
    `optimiser.init` gives (moments to zero, per-element step counts to their start); counts
    shared by the whole network stay, see `optimisers.adam`.

    **Arguments:**

    - `groups`, `masks`: the network's unit groups and, for each, which units to replace.
    - `fresh`: a new draw of all parameters; the replaced slices are taken from it.
    - `statistics`: the network's first state, to which a replaced unit's running means return;
      `network.state`.
    """
    incoming = _masks(learner.params, [group.incoming for group in groups], masks)
    outgoing = _masks(learner.params, [group.outgoing for group in groups], masks)

    def edit(old, new, redrawn, silenced):
        return jnp.where(redrawn, new, jnp.where(silenced, jnp.zeros_like(old), old))

    params = jax.tree.map(edit, learner.params, fresh, incoming, outgoing)
    touched = jax.tree.map(jnp.logical_or, incoming, outgoing)
    opt_state = reset_moments(optimiser, learner.opt_state, params, touched)
    state = learner.network_state
    if jax.tree.leaves(state):
        forgotten = _masks(state, [group.statistics for group in groups], masks)
        state = jax.tree.map(jnp.where, forgotten, statistics, state)
    return learner._replace(params=params, opt_state=opt_state, network_state=state)


def redraw_units(
    learner: Learner,
    groups: Sequence[UnitGroup],
    masks: Masks,
    fresh: Params,
    optimiser: optax.GradientTransformation,
) -> Learner:
    """Give the masked units new incoming *and* new outgoing weights, which changes the outputs.

    Moments of Adam that belong to a touched weight are forgotten, momentum is not.
    """
    incoming = _masks(learner.params, [group.incoming for group in groups], masks)
    outgoing = _masks(learner.params, [group.outgoing for group in groups], masks)
    touched = jax.tree.map(jnp.logical_or, incoming, outgoing)
    params = jax.tree.map(
        lambda old, new, mask: jnp.where(mask, new, old), learner.params, fresh, touched
    )
    momentum = lambda part: isinstance(part, optax.TraceState)
    opt_state = learner.opt_state
    if not any(map(momentum, jax.tree.leaves(opt_state, is_leaf=momentum))):
        opt_state = reset_moments(optimiser, opt_state, params, touched)
    return learner._replace(params=params, opt_state=opt_state)


def outgoing_size(params: Params, group: UnitGroup) -> Float[Array, " units"]:
    """The mean absolute outgoing weight of each unit, over all that read it.

    **Raises:** `UserError` where nothing that can be trained reads it.
    """
    if not group.outgoing:
        raise UserError(
            f"Nothing but a fixed head reads `{group.name}`, so that its units have no weights to "
            "be judged by. Pass `--set network.options.fixed_head=false`, or another method."
        )
    sizes = [
        jnp.abs(by_unit(at(params, place.path), place)).reshape(group.size, -1)
        for place in group.outgoing
    ]
    return jnp.concatenate(sizes, axis=1).mean(1)


def reset_moments(
    optimiser: optax.GradientTransformation, opt_state: State, params: Params, touched: PyTree
) -> State:
    """Return the entries of `opt_state` that belong to `touched` weights to their first value."""
    where = optax.tree_utils.tree_map_params(
        optimiser,
        lambda _, mask: mask,
        opt_state,
        touched,
        transform_non_params=lambda _: jnp.asarray(False),
    )
    initial = optimiser.init(params)
    return jax.tree.map(jnp.where, where, initial, opt_state)


def _masks(tree: PyTree, places: Sequence[tuple[Place, ...]], masks: Masks) -> PyTree:
    """For every array of `tree`, which of its entries belong to a masked unit."""
    marks: dict[Path, list[tuple[int, Array]]] = {}
    for group_places, mask in zip(places, masks, strict=True):
        for place in group_places:
            marks.setdefault(place.path, []).append((place.axis, jnp.tile(mask, place.places)))

    def expand(path, leaf):
        whole = jnp.zeros(leaf.shape, bool)
        for axis, mask in marks.get(names(path), []):
            shape = [1] * leaf.ndim
            shape[axis] = len(mask)
            whole |= jnp.broadcast_to(mask.reshape(shape), leaf.shape)
        return whole

    return jax.tree_util.tree_map_with_path(expand, tree)


def names(path) -> Path:
    """A key path as plain names: dict keys, indices, attributes."""
    return tuple(
        next(getattr(step, kind) for kind in ("key", "idx", "name") if hasattr(step, kind))
        for step in path
    )
