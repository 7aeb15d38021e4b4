"""Symmetric matrices of a network that are known only by their products with vectors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from neoteny.types import Loss

Path = tuple[str | int, ...]


class Operator(NamedTuple):
    """A symmetric matrix, `size` by `size`, as the function that multiplies by it.

    - `matvec`: linear; takes a flat vector `(size,)` of `dtype`, or a pytree shaped like
      the parameters, and returns what it was given the shape of.
    - `size`: the number of parameters.
    - `dtype`: of flat vectors.

    Lanczos and all spectra ask no more than this of a matrix.
    """

    matvec: Callable[[PyTree], PyTree]
    size: int
    dtype: Any


def hessian_vector_product(loss: Loss, params: PyTree) -> Operator:
    """Multiply by the Hessian of `loss` at `params`.

    The gradient is linearised once and the linear part reused, which takes 0.8 of the time
    of forward-over-reverse products; kept for that are the intermediate values of one
    gradient. Call it inside the jitted function that multiplies: outside, each product
    runs operation by operation. On accelerators matrix products are asked for in full
    precision, as 19-bit factors would drown the small eigenvalues.

    **Arguments:**

    - `loss`: maps parameters to a scalar; close over the batch.
    - `params`: where to measure; any pytree of float32 or float64 arrays.

    **Raises:** `ValueError` if a leaf is of another type, or if `loss` returns no scalar.
    """
    flat, unravel = ravel_params(params)
    _check_scalar(jax.eval_shape(loss, params))
    with jax.default_matmul_precision("highest"):
        _, product = jax.linearize(jax.grad(lambda vector: loss(unravel(vector))), flat)
    return from_flat(product, flat, unravel)


def ggn_vector_product(
    outputs: Callable[[PyTree], Float[Array, "rows *classes"]],
    params: PyTree,
    *,
    output_loss: Callable[[Array], Scalar] | None = None,
) -> Operator:
    """Multiply by the generalised Gauss-Newton matrix of a mean softmax cross-entropy.

    The matrix is the mean over rows of `J^T (diag(p) - p p^T) J`, where `J` is the Jacobian
    of a row's logits and `p` its softmax. It is positive semi-definite, has a rank of at most
    `rows * (classes - 1)`, and needs no labels. It is the Hessian less the part that bends
    the outputs themselves, and equals the Hessian where the logits are linear in `params`.
    Costs two thirds of a Hessian-vector product or a little more; linearised once, as there.
    Rows of which the softmax is all but certain keep the relative accuracy of the type.

    **Arguments:**

    - `outputs`: maps parameters to logits; close over the inputs.
    - `params`: where to measure; any pytree of float32 or float64 arrays.
    - `output_loss`: any other loss, as a function of the outputs; the matrix is then `J^T W J`
      with `W` its Hessian, and outputs may have any shape. Close over the labels, and take the
      mean: for squared error, `lambda outputs: jnp.mean((outputs - targets) ** 2)`.

    **Raises:** `ValueError` if a leaf is of another type, if `outputs` returns no matrix (no
    array, with an `output_loss`), or if `output_loss` returns no scalar.

    **Source:** Schraudolph (2002).
    """
    flat, unravel = ravel_params(params)
    check_outputs(outputs, params, output_loss)
    with jax.default_matmul_precision("highest"):
        primal, push = jax.linearize(lambda vector: outputs(unravel(vector)), flat)
        pull = jax.linear_transpose(push, flat)
        curve = output_curvature(output_loss, primal)
    return from_flat(lambda vector: pull(curve(push(vector)))[0], flat, unravel)


def output_curvature(output_loss, outputs: Array) -> Callable[[Array], Array]:
    """The product with the Hessian of a loss in the outputs; of mean softmax cross-entropy if None.

    The softmax's has constants in its kernel. Less the tangent of the likeliest class, no two
    terms cancel, whereas `1 - p` would be all rounding for a class that is nearly certain.
    """
    if output_loss is not None:
        return jax.linearize(jax.grad(output_loss), outputs)[1]
    probabilities = jax.nn.softmax(outputs)
    likeliest = jnp.argmax(outputs, axis=1, keepdims=True)

    def curve(tangent):
        parts = probabilities * (tangent - jnp.take_along_axis(tangent, likeliest, axis=1))
        return (parts - probabilities * jnp.sum(parts, axis=1, keepdims=True)) / len(outputs)

    return curve


def block(
    function: Callable[[PyTree], Any],
    params: PyTree,
    paths: str | int | Path | list[str | int | Path],
) -> tuple[Callable[[PyTree], Any], PyTree]:
    """Restrict a function of the parameters to some of them, the others held fixed.

    What comes back is what operators and spectra take: of `*block(loss, params, (0,))` the
    Hessian is the diagonal block of the first layer, `hessian_vector_product(*block(...))`.

    **Arguments:**

    - `function`: of the parameters: a loss, outputs, losses of rows.
    - `params`: any pytree.
    - `paths`: keys and indices that lead to a sub-tree: `(0, "kernel")`, as in `types.Place`;
      for attributes (of a module, a named tuple) their names. A single key needs no tuple. A
      list of paths makes one block of several sub-trees, in that order.

    **Returns:** the restricted function and its parameters: the sub-tree, or the tuple of them.

    **Raises:** `ValueError` if a path leads nowhere, or into a sub-tree of another.
    """
    several = isinstance(paths, list)
    steps = paths if several else [paths]
    chosen = [path if isinstance(path, tuple) else (path,) for path in steps]
    _check_apart(chosen)
    parts = tuple(_at(params, path) for path in chosen)

    def restricted(parts):
        tree = params
        for path, part in zip(chosen, parts if several else (parts,), strict=True):
            tree = _replaced(tree, path, part)
        return function(tree)

    return restricted, parts if several else parts[0]


def layers(params: PyTree) -> tuple[Path, ...]:
    """The paths of the top-level blocks of `params`, each to be given to `block`.

    A lone container is opened while it holds containers, so that layers are found below
    `{"params": ...}` as well; what holds no arrays is left out.
    """
    path, parts = (), _arrays(params)
    while len(parts) == 1:
        name, lone = next(iter(parts.items()))
        if jax.tree_util.all_leaves(_arrays(lone).values()):
            break
        path, parts = (*path, name), _arrays(lone)
    return tuple((*path, name) for name in parts) if parts else (path,)


def ravel_params(params: PyTree) -> tuple[Float[Array, " n"], Callable[[Array], PyTree]]:
    """Flatten parameters to a vector, after checking that curvature can be measured on them."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not sum(jnp.size(leaf) for _, leaf in leaves):
        raise ValueError("`params` holds no numbers. Pass a pytree of float32 or float64 arrays.")
    for path, leaf in leaves:
        if (dtype := jnp.result_type(leaf)) not in (jnp.float32, jnp.float64):
            raise ValueError(_dtype_message(jax.tree_util.keystr(path), dtype))
    return ravel_pytree(params)


def from_flat(product, flat: Float[Array, " n"], unravel) -> Operator:
    """The operator of a product with flat vectors such as `flat`."""

    def matvec(vector):
        if getattr(vector, "shape", None) == flat.shape:
            return product(vector)
        return unravel(product(ravel_pytree(vector)[0]))

    return Operator(matvec, flat.size, flat.dtype)


def check_outputs(outputs, params, output_loss) -> None:
    """Refuse outputs of which the Gauss-Newton matrix is not defined."""
    result = jax.eval_shape(outputs, params)
    if output_loss is None and len(getattr(result, "shape", ())) != 2:
        raise ValueError(
            f"`outputs` returned {_described(result)}, but logits have two axes, (rows, "
            "classes). Flatten other axes into rows, as in `logits.reshape(-1, num_classes)`, or "
            "pass the `output_loss` that takes this shape."
        )
    if not hasattr(result, "shape"):
        raise ValueError(
            f"`outputs` returned {_described(result)}, but a Jacobian is that of one array. "
            "Return the network's outputs alone."
        )
    if output_loss is not None:
        _check_scalar(jax.eval_shape(output_loss, result), "output_loss", "outputs")


def _check_scalar(result, name="loss", argument="params") -> None:
    if getattr(result, "shape", None) != ():
        raise ValueError(
            f"`{name}` returned {_described(result)}, but a Hessian is that of one number. "
            f"Reduce it, as in `lambda {argument}: jnp.mean({name}({argument}))`."
        )


def _check_apart(paths) -> None:
    for place, path in enumerate(paths):
        for other in paths[:place] + paths[place + 1 :]:
            if path[: len(other)] == other:
                raise ValueError(
                    f"`paths` has {path}, which is within {other}, so that a block of both would "
                    f"count it twice. Leave out {path}."
                )


def _children(tree) -> dict[str | int, PyTree]:
    """What a container holds, by name; empty for an array."""
    entries = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: node is not tree)
    return {_name(path[0]): child for path, child in entries if path}


def _arrays(tree):
    return {name: child for name, child in _children(tree).items() if jax.tree.leaves(child)}


def _name(entry):
    """What is written in a path for an entry of JAX's: a key, an index or an attribute."""
    kinds = ("key", "idx", "name")
    return next(getattr(entry, kind) for kind in kinds if hasattr(entry, kind))


def _at(tree, path):
    for depth, name in enumerate(path):
        if name not in (children := _children(tree)):
            raise ValueError(_path_message(path[:depth], name, list(children)))
        tree = children[name]
    return tree


def _replaced(tree, path, part):
    if not path:
        return part
    children = _children(tree)
    children[path[0]] = _replaced(children[path[0]], path[1:], part)
    structure = jax.tree.structure(tree, is_leaf=lambda node: node is not tree)
    return jax.tree.unflatten(structure, children.values())


def _path_message(path, name, names) -> str:
    if names:
        remedy = f"holds {', '.join(map(repr, names))}. Pass `{(*path, names[0])}`, say."
    else:
        remedy = f"is an array. Pass `{path}` for the whole of it."
    return f"`params` has no {name!r} at `{path}`, which {remedy}"


def _described(result) -> str:
    if hasattr(result, "shape"):
        return f"an array of shape {result.shape}"
    return f"a {type(result).__name__}"


def _dtype_message(place: str, dtype) -> str:
    if jnp.issubdtype(dtype, jnp.floating):
        remedy = f"its rounding would hide the small eigenvalues. Pass `params{place}` as float32."
    else:
        remedy = "a loss has no slope along it. Close over it, and pass the other arrays."
    return f"`params{place}` is {dtype}; curvature needs float32 or float64, and {remedy}"
