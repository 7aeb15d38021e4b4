"""What a person can get wrong when asking a monitor, each said before anything is measured."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from neoteny.errors import UserError

_CALL = "`monitor.check(loss_fn, params, batch)`"


def check_options(fresh: Any, learning_rate: Any, counts: dict[str, int | None]) -> None:
    """Refuse what `Monitor` cannot be made of."""
    if fresh is not None and not callable(fresh):
        raise UserError(
            f"`fresh` is {_a(fresh)}, but it makes new parameters from a key, since old ones "
            "cannot tell what a young network would measure. Pass the initialiser itself, as in "
            "`fresh=lambda key: init(key)`."
        )
    if callable(learning_rate):
        raise UserError(
            "`learning_rate` is a function, but the edge of stability is that of one step size. "
            "Pass the schedule's present value, as in `learning_rate=float(schedule(step))`."
        )
    if learning_rate is not None and not learning_rate > 0:
        raise UserError(
            f"`learning_rate` is {learning_rate}, but a step has a positive size. Leave it "
            "out if you use no plain gradient descent."
        )
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"`{name}` is {count}, but takes at least 1.")


def check_call(loss_fn: Any, params: PyTree, batch: PyTree, others: tuple) -> None:
    """Refuse arguments of `check` that no loss can be measured of."""
    if not callable(loss_fn):
        raise UserError(
            f"`loss_fn` is {_a(loss_fn)}, but it is the function `(params, batch) -> scalar`. "
            f"Its order is {_CALL}."
        )
    _check_params(params)
    _check_rows(batch)
    _check_scalar(_traced(loss_fn, params, batch, *others))


def _check_params(params) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise UserError(f"`params` holds no arrays: it is {_a(params)}. The order is {_CALL}.")
    for path, leaf in leaves:
        place = f"`params{jax.tree_util.keystr(path)}`"
        if not isinstance(leaf, jax.Array | np.ndarray | float):
            raise UserError(_no_array(place, leaf))
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise UserError(
                f"{place} is {jnp.result_type(leaf)}, along which a loss has no slope. Pass it "
                f"with the batch, or close over it; or were arguments swapped? It is {_CALL}."
            )


def _no_array(place, leaf) -> str:
    if place == "`params`":
        return f"`params` is {_a(leaf)}, and no pytree of arrays. The order is {_CALL}."
    return (
        f"{place} is {_a(leaf)}, and no array to learn. Pass the arrays alone: of an Equinox "
        "module `eqx.filter(model, eqx.is_inexact_array)`, and in the loss `eqx.combine(params, "
        "static)`; of a Flax NNX module the second part of `nnx.split(model, nnx.Param, ...)`, "
        "and in the loss `nnx.merge(graph, params, rest)`."
    )


def _check_rows(batch) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if jnp.ndim(leaf) and not leaf.shape[0]:
            raise UserError(
                f"The batch has no rows: `batch{jax.tree_util.keystr(path)}` has shape "
                f"{leaf.shape}. Pass one that has some; 128 are plenty."
            )


def _traced(loss_fn, *arguments):
    """What the loss returns, as shapes; a failure said in one sentence, its cause kept."""
    try:
        return jax.eval_shape(loss_fn, *arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"`loss_fn` failed on what it was passed: {_first_line(error)}. It is called as "
            f"`loss_fn(params, batch)`, and the order is {_CALL}."
        ) from error


def _check_scalar(result) -> None:
    if isinstance(result, tuple | list):
        raise UserError(
            f"`loss_fn` returned {_a(result)}, but a loss is one number. If the rest is auxiliary, "
            "pass a function of the first part: `def loss(params, batch): return "
            "loss_fn(params, batch)[0]`."
        )
    if not hasattr(result, "shape"):
        raise UserError(f"`loss_fn` returned {_a(result)}, but a loss is one number: return that.")
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise UserError(f"`loss_fn` returned {result.dtype}, which has no slope: return a float.")
    if result.shape != ():
        raise UserError(
            f"`loss_fn` returned an array of shape {result.shape}, but a loss is one number. Take "
            "the mean over rows: `def loss(params, batch): return loss_fn(params, batch).mean()`."
        )


def check_fresh(fresh: Callable, params: PyTree, batch: PyTree) -> None:
    """Refuse an initialiser that takes more than a key, or makes other parameters than these."""
    try:
        made = jax.eval_shape(fresh, jax.random.key(0))
    except TypeError as error:
        raise UserError(
            f"`fresh(key)` failed: {_first_line(error)}. It is called with a key alone: close "
            'over the rest, as in `fresh=lambda key: module.init(key, inputs)["params"]`.'
        ) from error
    if (wanted := _shapes(made)) == _shapes(params):
        return
    if wanted == _shapes(batch):
        raise UserError(f"`batch` is what `fresh` makes, so arguments are swapped: it is {_CALL}.")
    raise UserError(
        f"`fresh` makes other parameters than `params`: {_first_difference(made, params)}. Make "
        'both the same pytree; of Flax\'s `init` take what you train, as in `["params"]`.'
    )


def _shapes(tree):
    leaves, structure = jax.tree.flatten(tree)
    return structure, [jnp.shape(leaf) for leaf in leaves]


def _first_difference(made, params) -> str:
    sides = [
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (made, params))
    ]
    for place in {**sides[0], **sides[1]}:
        first, second = (side.get(place, "not there") for side in sides)
        if first != second:
            return f"`{place}` has shape {first} in one and {second} in the other".replace(
                "has shape not there", "is not there"
            )
    return f"it is {_a(made)}, and they are {_a(params)}"


def check_layers(layers: list) -> None:
    """Refuse features that are no matrices."""
    if not layers:
        raise UserError(
            "`features` returned no matrix, so there is no hidden layer to look at. Leave "
            "it out, and the monitor looks at gradients and weights alone."
        )
    for layer in layers:
        if jnp.ndim(layer) != 2:
            raise UserError(
                f"`features` returned an array of shape {jnp.shape(layer)}, but a hidden layer is "
                "a matrix (rows, units). Of a convolution return "
                "`layer.reshape(-1, layer.shape[-1])`; of stacked layers a list of them."
            )


def check_finite(values: dict[str, float], params: PyTree, batch: PyTree, remedy: str) -> None:
    """Refuse measurements that are not finite, and say where that comes from."""
    strange = [name for name, value in values.items() if not np.isfinite(value)]
    if not strange:
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not np.isfinite(np.asarray(leaf, np.float64)).all():
            raise UserError(f"`params{jax.tree_util.keystr(path)}` is not finite. {remedy}")
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and not np.isfinite(leaf).all():
            raise UserError(
                f"`batch{jax.tree_util.keystr(path)}` is not finite, and so nothing measured on it "
                "is. The parameters are."
            )
    name = "loss" if "loss" in strange else strange[0]
    raise UserError(
        f"`{name}` is {values[name]} on this batch, though all parameters are finite: the loss or "
        f"its gradient overflows. {remedy}"
    )


def _a(value) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _first_line(error) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"
