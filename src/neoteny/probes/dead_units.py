"""What dead units are certain to cost, and which of them are certain to stay dead.

Proofs, and the tests that exercise them, are in `docs/theory.md`, sections 5 and 6.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Num, Scalar

from neoteny.losses import curved
from neoteny.types import Network, Params, as_floats


def alive_units(
    network: Network, params: Params, inputs: Float[Array, "rows ..."]
) -> Int[Array, " layers_and_ends"]:
    """Count the inputs, the units of each hidden layer and the outputs on which the loss depends.

    A unit is dead if its pre-activation is strictly negative on every row, and counts as alive
    if it is exactly zero on one; an input is dead if it is zero on every row. Nothing below a
    layer without alive units counts. Pre-activations are recomputed from the parameters of a
    ReLU MLP as `neoteny.networks.mlp` makes it: for each layer a `kernel` (in, out) and a `bias`.

    **Raises:** `ValueError` if the network is another.
    """
    flat = as_floats(inputs).reshape(len(inputs), -1)
    masks = [jnp.any(flat != 0, axis=0)]
    masks += [~jnp.all(pre < 0, axis=0) for pre in _pre_activations(network, params, flat)]
    hidden = jnp.array([jnp.sum(mask) for mask in masks])
    through = jnp.append(jnp.cumprod((hidden[1:] > 0)[::-1])[::-1], 1)
    reached = hidden * through
    return jnp.append(reached, params[-1]["bias"].size)


def dead_unit_rank_bound(
    network: Network,
    params: Params,
    inputs: Float[Array, "rows ..."],
    *,
    loss: str = "cross-entropy",
    matrix: str = "hessian",
) -> Int[Array, ""]:
    """Bound the rank of the loss's Hessian or generalised Gauss-Newton matrix on `inputs`.

    With `a_l` alive units in layer `l`, `sum_l a_l (a_{l-1} + 1)`, where for cross-entropy the
    last layer counts `classes - 1`, as a softmax does not see a shift of all its outputs. For
    `matrix="ggn"` also one less for each alive hidden unit, as its incoming weights can be
    traded for outgoing ones, and no more than `rows` times the outputs counted. The Hessian is
    that of the smooth piece which `params` lie in: no alive pre-activation may be exactly 0.

    **Raises:** as `alive_units`; `ValueError` for another matrix, `UserError` for another loss.
    """
    curved(loss)
    if matrix not in ("hessian", "ggn"):
        raise ValueError(f'`matrix` is {matrix!r}, but it is "hessian" or "ggn".')
    alive = alive_units(network, params, inputs)
    seen = alive.at[-1].add(-1) if loss == "cross-entropy" else alive
    bound = jnp.sum(seen[1:] * (seen[:-1] + 1))
    if matrix == "ggn":
        bound = jnp.minimum(bound - jnp.sum(alive[1:-1]), len(inputs) * seen[-1])
    return bound


def certain_zero_eigenvalues(
    network: Network,
    params: Params,
    inputs: Float[Array, "rows ..."],
    *,
    loss: str = "cross-entropy",
    matrix: str = "hessian",
) -> Int[Array, ""]:
    """Count the eigenvalues that `dead_unit_rank_bound` leaves no choice but to be zero."""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return size - dead_unit_rank_bound(network, params, inputs, loss=loss, matrix=matrix)


def dead_margins(
    network: Network, params: Params, inputs: Float[Array, "rows ..."]
) -> tuple[Float[Array, " _"], ...]:
    """Compute how far each hidden unit's inputs are from reviving it: one array for each layer.

    `-max(pre-activation) / |incoming weights|`: positive for dead units, in units of the layer's
    inputs, and negative for alive ones. A unit without incoming weights has margin `inf`, 0 or
    `-inf` by the sign of its bias. The network is one that `alive_units` can read.
    """

    def margin(pre, kernel):
        top, norm = -jnp.max(pre, axis=0), jnp.sqrt(jnp.sum(kernel**2, axis=0))
        constant = jnp.where(top == 0, 0, jnp.sign(top) * jnp.inf)
        return jnp.where(norm == 0, constant, top / jnp.where(norm == 0, 1, norm))

    pres = _pre_activations(network, params, as_floats(inputs).reshape(len(inputs), -1))
    kernels = [layer["kernel"] for layer in params[:-1]]
    return tuple(margin(pre, kernel) for pre, kernel in zip(pres, kernels, strict=True))


def hausdorff_shift(
    old: Float[Array, "rows units"], new: Float[Array, "others units"], *, chunk: int = 32
) -> Scalar:
    """Compute the largest distance from a new row to its nearest old row.

    The directed Hausdorff distance, from differences and not from products, which would round
    it down. Costs `rows * others * units` operations, and `chunk` copies of `old`.
    """

    def nearest(row):
        return jnp.min(jnp.sum((old - row[None]) ** 2, axis=1))

    return jnp.sqrt(jnp.max(lax.map(nearest, new, batch_size=chunk)))


def stays_dead(margins: Float[Array, " units"], shift: ArrayLike) -> Bool[Array, " units"]:
    """Say which units are sure to be dead on new inputs, at the start of the new task.

    Sure if the margin exceeds the `hausdorff_shift` of the inputs of their layer: the task's
    inputs for the first hidden layer, else the features below. `False` says nothing.
    """
    return (margins > 0) & (margins > jnp.asarray(shift))


def dead_for_every_permutation(
    kernel: Float[Array, "inputs units"],
    bias: Float[Array, " units"],
    inputs: Num[Array, "rows inputs"],
) -> Bool[Array, " units"]:
    """Say which first-layer units are dead on `inputs` in whatever order their pixels come.

    Exact: over all orders, `w . x` is largest where both are sorted alike. Such a unit never
    revives on a stream of permuted pixels, but by decay of its bias, noise or a reset.
    """
    largest = jnp.matmul(jnp.sort(as_floats(inputs), 1), jnp.sort(kernel, 0), precision="highest")
    return jnp.all(largest + bias[None] < 0, axis=0)


def _pre_activations(network, params, inputs):
    _check_relu_mlp(network, params)
    return _recomputed(params, inputs)[0]


def _recomputed(params, inputs):
    """Pre-activations and features of the hidden layers, and the outputs, of a ReLU MLP."""
    hidden, pres = inputs, []
    for layer in params[:-1]:
        pres.append(hidden @ layer["kernel"] + layer["bias"][None])
        hidden = jax.nn.relu(pres[-1])
    outputs = hidden @ params[-1]["kernel"] + params[-1]["bias"][None]
    return pres, [*map(jax.nn.relu, pres), outputs]


def _check_relu_mlp(network, params):
    """Refuse a network whose structure, or whose answers at made-up parameters, are another's."""
    layers = list(params) if isinstance(params, tuple | list) else []
    if not layers or not all(map(_is_product, layers)):
        found = [_arrays_of(layer) for layer in layers] or f"in a {type(params).__name__}"
        raise ValueError(
            "`params` is not that of a plain MLP, of which pre-activations can be recomputed: "
            f"its layers are {found}, where each should be a dict of a `bias` and a `kernel` of "
            "two axes. Make the network with `neoteny.networks.mlp(widths)`, without `layer_norm`."
        )
    with jax.ensure_compile_time_eval():
        made_up = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size) * 1.7), params)
        made_up = jax.tree.map(lambda new, leaf: new.reshape(leaf.shape), made_up, params)
        width = layers[0]["kernel"].shape[0]
        inputs = jnp.sin(jnp.arange(3 * width) * 2.3).reshape(3, width)
        outputs, features = network.apply(made_up, inputs)
        found, expected = [*features, outputs], _recomputed(made_up, inputs)[1]
        same = len(found) == len(expected) and all(
            one.shape == other.shape and bool(jnp.allclose(one, other, rtol=1e-3, atol=1e-3))
            for one, other in zip(found, expected, strict=True)
        )
    if not same:
        raise ValueError(
            "`network` is not a plain ReLU MLP: its features and outputs are not those that "
            "`kernel`, `bias` and a ReLU give layer by layer, so its pre-activations cannot be "
            'recomputed. Make it with `neoteny.networks.mlp(widths, activation="relu")`.'
        )


def _is_product(layer):
    return _arrays_of(layer) == ["bias", "kernel"] and layer["kernel"].ndim == 2


def _arrays_of(layer):
    return sorted(layer) if isinstance(layer, dict) else type(layer).__name__
