"""The Kronecker factors of every layer of a network, from its forward pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from neoteny.curvature.kronecker import KroneckerFactors, homogeneous, sum_of_squares
from neoteny.types import Batch, Network, as_floats


def layer_factors(
    outputs: Callable[[Callable[..., Array]], Float[Array, "rows classes"]],
) -> tuple[KroneckerFactors, ...]:
    """The Kronecker factors of dense and convolutional layers, for a mean softmax cross-entropy.

    `outputs` is the forward pass of any network, in which every layer to be measured is passed
    through the `tap` that it is given, before its activation function:

        def outputs(tap):
            patches = convolution_activations(images, kernel.shape)
            hidden = jax.nn.relu(tap(patches, convolve(images, kernel) + bias))
            flat = hidden.reshape(len(hidden), -1)
            return tap(flat, flat @ head["kernel"] + head["bias"])

    `tap(activations, result, bias=True)` returns the result. Expectations are those of
    `kronecker_factors`: means over rows and, with the columns of `diag(sqrt(p)) - p sqrt(p)^T`,
    a root of `diag(p) - p p^T`, the sum over classes. So each pair approximates a diagonal
    block of `ggn_vector_product`, with nothing sampled and no labels. Costs one forward pass and
    `classes` backward passes, and keeps the patches. May be jitted.

    **Arguments:**

    - `outputs`: maps a tap to logits; close over parameters and inputs. Rows must not see each
      other, as they do under batch normalisation of their own statistics. Activations are
      (rows, inputs) with a result (rows, outputs); of a convolution the
      `convolution_activations`, of a layer that is shared over a sequence its inputs, both
      (rows, positions, inputs) with a result (rows, *positions, outputs).

    **Returns:** a pair for each call of `tap`, in their order.

    **Raises:** `ValueError` if shapes do not match or no layer is tapped.

    **Source:** Martens & Grosse (2015); of convolutions, Grosse & Martens (2016).
    """
    with jax.default_matmul_precision("highest"):
        shifts = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: _tapped(outputs, None)[2]))
        logits, pull, activations = jax.vjp(
            lambda shifts: _tapped(outputs, shifts)[:2], shifts, has_aux=True
        )
        _check_taps(logits, shifts)
        return _factors(activations, shifts, logits, pull)


def dense_factors(network: Network, params: PyTree, batch: Batch) -> tuple[KroneckerFactors, ...]:
    """The Kronecker factors of every layer of a perceptron, for a mean softmax cross-entropy.

    As `layer_factors`, with no taps: what they add to a result, a bias of each row's own does.

    **Arguments:**

    - `network`, `params`: of `networks.mlp`, with layer norm or without; or any network whose
      `params` are a tuple of dicts with `kernel` and `bias`, each layer multiplying the
      features before it.
    - `batch`: the rows to average over.

    **Raises:** `ValueError` if the parameters are not such layers.
    """
    inputs = as_floats(batch.inputs)
    rows = len(inputs)
    with jax.default_matmul_precision("highest"):
        logits, features = network.apply(params, inputs)
        activations = (inputs.reshape(rows, -1), *features)
        _check_layers(params, activations)

        def outputs(biases):
            one = lambda biases, row: network.apply(_with_biases(params, biases), row[None])[0][0]
            return jax.vmap(one)(biases, inputs)

        biases = [jnp.tile(layer["bias"][None], (rows, 1)) for layer in params]
        _, pull = jax.vjp(outputs, biases)
        return _factors([homogeneous(a) for a in activations], biases, logits, pull)


def _tapped(outputs, shifts):
    """The forward pass with `shifts` added at its taps: logits, and what each tap was given."""
    activations, results = [], []

    def tap(given, result, *, bias=True):
        _check_tap(given.shape, result.shape)
        flat = result.reshape(*given.shape[:-1], result.shape[-1])
        if shifts is not None:
            flat = flat + shifts[len(results)]
        activations.append(homogeneous(given) if bias else given)
        results.append(flat)
        return flat.reshape(result.shape)

    return outputs(tap), activations, results


def _factors(activations, shifts, logits, pull):
    """Of layers' inputs, and of what `pull` takes from the logits back to shifts of their results.

    One class after another, so that the signals of one are in memory at a time.
    """
    rows = len(logits)

    def add(sums, cotangents):
        squares = [sum_of_squares(signals) for signals in pull(cotangents)[0]]
        return [total + square for total, square in zip(sums, squares, strict=True)], None

    nothing = [jnp.zeros((shift.shape[-1],) * 2, shift.dtype) for shift in shifts]
    sums, _ = lax.scan(add, nothing, _roots(logits))
    return tuple(
        KroneckerFactors(sum_of_squares(given) / rows, total / (shift.size // shift.shape[-1]))
        for given, shift, total in zip(activations, shifts, sums, strict=True)
    )


def _roots(logits):
    """Column c of every row's root of `diag(p) - p p^T`: (columns, rows, classes)."""
    p = jax.nn.softmax(logits)
    root = jnp.sqrt(p)
    columns = jnp.eye(p.shape[1], dtype=p.dtype)[:, None, :] - p[None]
    return columns * root.T[:, :, None]


def _with_biases(params, biases):
    return tuple({**layer, "bias": bias} for layer, bias in zip(params, biases, strict=True))


def _check_layers(params, activations) -> None:
    try:
        widths = [layer["kernel"].shape[0] for layer in params if layer["bias"].ndim == 1]
    except (TypeError, KeyError, IndexError, AttributeError):
        widths = None
    given = [part.shape[1] for part in activations]
    if widths != given:
        raise ValueError(
            f"`params` should be a tuple of {len(given)} layers, each a dict of `kernel` and "
            f"`bias`, with kernels that take {given} inputs; "
            + (f"these take {widths}. " if widths else "these are not. ")
            + "Pass a network of `networks.mlp`, or collect a layer's own inputs and signals "
            "and call `kronecker_factors(activations, signals)`."
        )


def _check_tap(activations, result) -> None:
    positions = (int(np.prod(result[1:-1])),) if len(result) > 2 else ()
    if len(result) < 2 or activations[:-1] != (*result[:1], *positions):
        raise ValueError(
            f"`tap` was given activations of shape {activations} with a result of shape {result}. "
            "Pass activations (rows, inputs) with a result (rows, outputs), or of a convolution "
            "its `convolution_activations`, (rows, positions, inputs), with (rows, *positions, "
            "outputs), for the same rows and positions."
        )


def _check_taps(logits, shifts) -> None:
    if not shifts:
        raise ValueError(
            "`outputs` tapped no layer. Pass each through the tap, as in "
            "`hidden = jax.nn.relu(tap(inputs, inputs @ kernel + bias))`."
        )
    given = [len(shift) for shift in shifts]
    if logits.ndim != 2 or {*given} != {len(logits)}:
        raise ValueError(
            f"`outputs` returned logits of shape {logits.shape} from layers of {given} rows. "
            "Return (rows, classes), and tap the same rows in every layer: positions are an axis "
            "of their own, (rows, positions, inputs)."
        )
