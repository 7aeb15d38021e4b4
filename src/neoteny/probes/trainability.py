"""Whether a network can still learn a task within a budget, judged before it tries.

Proofs of what the docstrings state, and the tests that exercise them, are in `docs/theory.md`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from neoteny.curvature import budget_epsilon
from neoteny.losses import LOSSES, curved
from neoteny.types import Batch, Network, Params, Probe, Snapshot

_RELATIVE = 1e-3  # of the largest eigenvalue: directions a thousand times slower than the fastest
_NUMBERS = 2**24  # that a block of tangents may hold


class Linearisation(NamedTuple):
    """The mean loss on some rows, through the tangent of the outputs at the parameters.

    `J` is the Jacobian of all outputs, row after row: `outputs = rows * classes` of them. Each
    pair of a matrix and a vector gives the gradient's length, `|g|^2 = v^T M v`.

    - `ntk`: `J J^T / rows`, with `slope`: the gradients of the rows' losses by their outputs,
      divided by `sqrt(rows)`.
    - `gram`: `S^T J J^T S / rows`, where `S S^T` are the second derivatives of the rows' losses
      by their outputs, with `residual`: the solution of `S residual = slope`. Its eigenvalues
      above zero are those of the generalised Gauss-Newton matrix.
    """

    loss: Scalar
    ntk: Float[Array, "outputs outputs"]
    slope: Float[Array, " outputs"]
    gram: Float[Array, "outputs outputs"]
    residual: Float[Array, " outputs"]


class Trainability(NamedTuple):
    """What gradient descent on the local quadratic model can do within a budget.

    - `epsilon`: `1 / (learning_rate * steps)`; `alignment`, `rank_share`: at this epsilon.
    - `predicted_loss`: of the model after the last step; `lower_loss`, `upper_loss`: what the
      alignment alone says of it. For squared error on a network linear in its parameters the
      model is exact; for cross-entropy it may fall below zero, see `linearise`.
    """

    epsilon: Scalar
    alignment: Scalar
    rank_share: Scalar
    predicted_loss: Scalar
    lower_loss: Scalar
    upper_loss: Scalar


class BudgetTrainability(NamedTuple):
    """`Trainability` with the loss-weighted Gram matrix, and what the tangent kernel says.

    - `linearised_loss`: after gradient descent on the linearised network, with the true loss.
    - `guaranteed_loss`, `possible_loss`: bounds on that from `descent_bounds`.
    - `edge`: `learning_rate * largest eigenvalue / 2`; above 1 the model diverges.
    """

    epsilon: Scalar
    alignment: Scalar
    rank_share: Scalar
    predicted_loss: Scalar
    lower_loss: Scalar
    upper_loss: Scalar
    ntk_alignment: Scalar
    ntk_rank_share: Scalar
    linearised_loss: Scalar
    guaranteed_loss: Scalar
    possible_loss: Scalar
    edge: Scalar


class RelativeTrainability(NamedTuple):
    """Trainability where no budget is known: epsilon is 1/1000 of the largest eigenvalue.

    `alignment`, `rank_share`, `largest_eigenvalue`: of the loss-weighted Gram matrix and its
    residual; with `ntk_`: of the tangent kernel and the slope.
    """

    alignment: Scalar
    rank_share: Scalar
    largest_eigenvalue: Scalar
    ntk_alignment: Scalar
    ntk_rank_share: Scalar
    ntk_largest_eigenvalue: Scalar


def trainability_probe(snapshot: Snapshot) -> RelativeTrainability:
    """Measure which directions of the task the network can move in, whatever the budget.

    For cross-entropy. Cost: that of `linearise`, and two symmetric eigendecompositions of
    order `rows * classes`.
    """
    seen = linearise(snapshot.network, snapshot.params, snapshot.batch)
    rows = len(snapshot.batch.labels)
    outputs = rows * _counted(snapshot, seen.slope.size // rows)
    measured = []
    for matrix, vector, dimension in (
        (seen.gram, seen.residual, outputs - rows),
        (seen.ntk, seen.slope, outputs),
    ):
        values, parts = _modes(matrix, vector)
        epsilon = _RELATIVE * values[-1]
        measured += [_share(values, parts, epsilon), _count(values, epsilon, dimension)]
        measured.append(values[-1])
    return RelativeTrainability(*measured)


def trainability_at(
    learning_rate: float, steps: int, *, loss: str = "cross-entropy", simulate: bool = True
) -> Probe:
    """A probe that judges the coming task by a budget of plain gradient descent.

    The probe's rows stand for the task's: fewer rows are fitted more easily, so predicted
    losses lean low. Momentum multiplies the learning rate to pass by `1 / (1 - momentum)`; for
    Adam no learning rate is right. Cost: `trainability_probe` and, with `simulate`, `steps`
    products with a matrix of order `rows * classes`; without, `linearised_loss` is NaN.

    **Raises:** `ValueError` if the budget is not positive, `UserError` for an unknown loss.
    """
    budget_epsilon(learning_rate, steps)
    curved(loss)

    def probe(snapshot: Snapshot) -> BudgetTrainability:
        network, params, batch = snapshot.network, snapshot.params, snapshot.batch
        outputs, _ = network.apply(params, batch.inputs)
        rows, classes = outputs.shape
        seen = linearise(network, params, batch, loss=loss)
        values, parts = _modes(seen.gram, seen.residual)
        counted = _counted(snapshot, classes)
        dimension = rows * (counted - (loss == "cross-entropy"))
        weighted = _judged(values, parts, learning_rate, steps, seen.loss, dimension)
        ntk_values, ntk_parts = _modes(seen.ntk, seen.slope)
        smoothness = 0.5 if loss == "cross-entropy" else 2 / classes
        least, most = _bounds(ntk_values, ntk_parts, learning_rate, steps, smoothness)
        final = jnp.full_like(seen.loss, jnp.nan)
        if simulate:
            final = linearised_loss(
                seen.ntk, outputs, batch.labels, learning_rate, steps, loss=loss
            )
        return BudgetTrainability(
            *weighted,
            ntk_alignment=_share(ntk_values, ntk_parts, weighted.epsilon),
            ntk_rank_share=_count(ntk_values, weighted.epsilon, rows * counted),
            linearised_loss=final,
            guaranteed_loss=seen.loss - least,
            possible_loss=jnp.maximum(seen.loss - most, 0),
            edge=learning_rate * values[-1] / 2,
        )

    return probe


def linearise(
    network: Network, params: Params, batch: Batch, *, loss: str = "cross-entropy"
) -> Linearisation:
    """Compute the tangent kernel, the loss-weighted Gram matrix and their residuals.

    Gradient descent on the quadratic model, outputs linear in the parameters and the losses'
    second derivatives `W = S S^T` frozen, makes `residual` shrink by `I - learning_rate * gram`
    in each step, and the model's loss is `loss + (|residual_t|^2 - |residual_0|^2) / 2`. For
    squared error `W` is constant, and only the outputs are approximated.

    For cross-entropy `S = diag(sqrt(p)) - p sqrt(p)^T`, which makes a row's residual
    `(p - y) / sqrt(p)`, with no pseudo-inverse; its squared length is `exp(row's loss) - 1`. The
    model holds while differences of a row's outputs move by much less than 1. A row that is
    wrong with confidence has a large residual along a small eigenvalue, and the model then
    promises more than there is to gain, and far later: judge such networks by `ntk` and
    `slope`, whose `descent_bounds` freeze nothing.

    Costs `rows * classes` forward-mode and backward passes, and blocks of 2^24 tangents or one
    copy of the parameters, whichever is more.

    **Raises:** `UserError` for a loss not in `neoteny.losses.LOSSES`.
    """
    curved(loss)
    outputs, _ = network.apply(params, batch.inputs)
    rows, classes = outputs.shape
    losses, slope = jax.value_and_grad(lambda f: jnp.sum(LOSSES[loss](f, batch.labels)))(outputs)
    ntk = tangent_kernel(lambda p: network.apply(p, batch.inputs)[0], params)
    roots, residual = _weights(loss, outputs, slope, batch.labels)
    blocks = ntk.reshape(rows, classes, rows, classes)
    gram = jnp.einsum("iab,iajc,jcd->ibjd", roots, blocks, roots, precision="highest")
    gram = gram.reshape(ntk.shape)
    scale = rows**0.5
    return Linearisation(
        losses / rows,
        ntk,
        slope.reshape(-1) / scale,
        (gram + gram.T) / 2,
        residual.reshape(-1) / scale,
    )


def tangent_kernel(
    outputs: Callable[[Params], Float[Array, "rows classes"]], params: Params
) -> Float[Array, "outputs outputs"]:
    """Compute `J J^T / rows`, with `J` the Jacobian of all outputs, row after row.

    No more of the Jacobian is held at once than 2^24 numbers, or one of its rows.
    """
    flat, unravel = ravel_pytree(params)
    with jax.default_matmul_precision("highest"):
        values, push = jax.linearize(lambda vector: outputs(unravel(vector)), flat)
        pull = jax.linear_transpose(push, flat)

        def column(unit):
            return push(pull(unit.reshape(values.shape))[0]).reshape(-1)

        units = jnp.eye(values.size, dtype=values.dtype)
        block = max(1, min(values.size, _NUMBERS // flat.size))
        kernel = lax.map(column, units, batch_size=block) / len(values)
    return (kernel + kernel.T) / 2


def trainability(
    gram: Float[Array, "n n"],
    residual: Float[Array, " n"],
    learning_rate: float,
    steps: int,
    *,
    loss: Scalar | None = None,
    dimension: int | None = None,
) -> Trainability:
    """Judge a budget of gradient descent by a Gram matrix and the residual to be reduced.

    **Arguments:**

    - `loss`: before the first step; by default `|residual|^2 / 2`, as for squared error.
    - `dimension`: of the space that the residual lies in, by default `n`; see `rank_share`.

    **Raises:** `ValueError` if the budget is not positive.
    """
    values, parts = _modes(gram, residual)
    before = jnp.sum(parts**2) / 2 if loss is None else loss
    return _judged(values, parts, learning_rate, steps, before, dimension or len(residual))


def is_trainable(measured: Trainability | BudgetTrainability, rho: float) -> Bool[Array, ""]:
    """Say whether the alignment is at least `rho`: (epsilon, rho)-trainability.

    With `rho=required_alignment(reduction, steps)`, a network that fails cannot bring the
    model's squared residual down to `reduction` of what it was.
    """
    return measured.alignment >= rho


def required_alignment(reduction: float, steps: int) -> float:
    """The alignment at `1 / (learning_rate * steps)` without which a reduction is impossible.

    `1 - reduction * (1 - 1/steps)^(-2 steps)`, but not below 0. The factor falls from 16 for two
    steps to `e^2` for many, so reductions above 0.13 require nothing: along eigenvalues just
    below this epsilon a budget still does that much.
    """
    if not (0 <= reduction <= 1 and steps >= 1):
        raise ValueError(
            f"`reduction` is {reduction} and `steps` is {steps}, but a reduction is the share "
            "of the squared residual that may be left, from 0 to 1, after at least 1 step. Pass "
            "`reduction=0.01`, and how many steps are taken on a task."
        )
    return 0.0 if steps == 1 else max(0.0, 1 - reduction * (1 - 1 / steps) ** (-2.0 * steps))


def alignment_weighted_rank(
    gram: Float[Array, "n n"], residual: Float[Array, " n"], epsilon: ArrayLike
) -> Float[Array, "..."]:
    """Compute the share of `|residual|^2` along eigenvalues above `epsilon`.

    An array of epsilons gives a curve. Eigenvalues within rounding of zero are zero. Of a zero
    residual the share is 1: there is nothing to learn.
    """
    return _share(*_modes(gram, residual), epsilon)


def rank_share(
    gram: Float[Array, "n n"], epsilon: ArrayLike, *, dimension: int | None = None
) -> Float[Array, "..."]:
    """Compute the number of eigenvalues above `epsilon`, divided by `dimension`.

    This is the mean of `alignment_weighted_rank` over residuals without preferred direction in
    a space of `dimension` that contains the range of `gram`; by default of all `n`. Residuals
    of cross-entropy lie in a space of `rows * (classes - 1)`.
    """
    values, _ = _modes(gram, jnp.zeros_like(gram[0]))
    return _count(values, epsilon, dimension or len(gram))


def predicted_loss(
    gram: Float[Array, "n n"],
    residual: Float[Array, " n"],
    learning_rate: ScalarLike,
    steps: ScalarLike,
    *,
    loss: Scalar | None = None,
) -> Scalar:
    """Compute the quadratic model's loss after `steps` of gradient descent, in closed form.

    `loss - sum_k (1 - (1 - learning_rate * lambda_k)^(2 steps)) * <u_k, residual>^2 / 2`, for
    any learning rate: above `2 / lambda_1` it grows as gradient descent does. By default `loss`
    is `|residual|^2 / 2`, as for squared error.
    """
    values, parts = _modes(gram, residual)
    before = jnp.sum(parts**2) / 2 if loss is None else loss
    return before - _gain(values, parts, learning_rate, steps)


def descent_bounds(
    ntk: Float[Array, "n n"],
    slope: Float[Array, " n"],
    learning_rate: ScalarLike,
    steps: ScalarLike,
    smoothness: ScalarLike,
) -> tuple[Scalar, Scalar]:
    """Bound from below and above how much gradient descent reduces a convex loss.

    For a network linear in its parameters and every convex loss of its outputs, nothing frozen:
    with `x_k = learning_rate * steps * mu_k` for the eigenvalues of `ntk`,
    `sum_k <v_k, slope>^2 x_k / (1 + smoothness * x_k) / 2` and `sum_k <v_k, slope>^2 x_k`. For
    small `x` these are a factor of 2 apart. With `learning_rate * smoothness * mu_1` above 1 the
    first is -inf, and above 2 the second is inf.

    **Arguments:**

    - `smoothness`: a bound on the second derivatives of a row's loss by its outputs: 1/2 for
      cross-entropy, `2 / classes` for squared error.
    """
    return _bounds(*_modes(ntk, slope), learning_rate, steps, smoothness)


def linearised_loss(
    ntk: Float[Array, "n n"],
    outputs: Float[Array, "rows classes"],
    labels: Int[Array, " rows"],
    learning_rate: ScalarLike,
    steps: ScalarLike,
    *,
    loss: str = "cross-entropy",
) -> Scalar:
    """Compute the loss after gradient descent on the linearised network, with the true loss.

    Followed step by step in the space of outputs, where one step is one product with `ntk`;
    exact for a network linear in its parameters.
    """
    curved(loss)
    rowwise = LOSSES[loss]
    slope = jax.grad(lambda f: jnp.sum(rowwise(f, labels)))

    def step(_, f):
        moved = jnp.matmul(ntk, slope(f).reshape(-1), precision="highest")
        return f - learning_rate * moved.reshape(f.shape)

    return jnp.mean(rowwise(lax.fori_loop(0, steps, step, outputs), labels))


def _judged(values, parts, learning_rate, steps, loss, dimension):
    epsilon = budget_epsilon(learning_rate, steps)
    fast = values > epsilon
    slow_energy = jnp.sum(parts**2, where=~fast)
    lost = _lost(jnp.asarray(epsilon * learning_rate, values.dtype), steps)
    least = jnp.sum(parts**2, where=fast) * lost / 2
    stable = learning_rate * (values[-1] + epsilon) <= 2
    most = (jnp.sum(parts**2, where=fast) + slow_energy * lost) / 2
    return Trainability(
        epsilon=jnp.asarray(epsilon, values.dtype),
        alignment=_share(values, parts, epsilon),
        rank_share=_count(values, epsilon, dimension),
        predicted_loss=loss - _gain(values, parts, learning_rate, steps),
        lower_loss=loss - most,
        upper_loss=jnp.where(stable, loss - least, jnp.inf),
    )


def _bounds(values, parts, learning_rate, steps, smoothness):
    reach = learning_rate * steps * values
    least = jnp.sum(parts**2 * reach / (1 + smoothness * reach)) / 2
    most = jnp.sum(parts**2 * reach)
    step = learning_rate * smoothness * values[-1]
    return jnp.where(step <= 1, least, -jnp.inf), jnp.where(step <= 2, most, jnp.inf)


def _modes(matrix, vector):
    """Eigenvalues, ascending and exactly zero within rounding, and the vector's components."""
    values, vectors = jnp.linalg.eigh(matrix, symmetrize_input=False)
    rounding = 4 * len(values) ** 0.5 * jnp.finfo(values.dtype).eps * values[-1]
    parts = jnp.matmul(vector, vectors, precision="highest")
    return jnp.where(values <= rounding, 0, values), parts


def _share(values, parts, epsilon):
    """Of the squared parts along values above each epsilon; squares that overflow are spared."""
    size = jnp.max(jnp.abs(parts))
    energy = (parts / jnp.where(size == 0, 1, size)) ** 2
    total = jnp.sum(energy)
    share = _sum_above(values, energy, epsilon) / jnp.where(size == 0, 1, total)
    return jnp.where(size == 0, 1, share)


def _counted(snapshot: Snapshot, outputs: int):
    """The outputs that count: those that do not have no derivative, and fill no dimension."""
    return outputs if snapshot.classes is None else jnp.sum(snapshot.classes)


def _count(values, epsilon, dimension):
    return _sum_above(values, jnp.ones_like(values), epsilon) / dimension


def _sum_above(values, amounts, epsilon):
    bounds = jnp.asarray(epsilon, values.dtype)[..., None]
    place = lambda array: array.reshape((1,) * (bounds.ndim - 1) + (-1,))
    return jnp.sum(jnp.where(place(values) > bounds, place(amounts), 0), axis=-1)


def _gain(values, parts, learning_rate, steps):
    energy = parts**2
    return jnp.sum(jnp.where(energy == 0, 0, energy * _lost(learning_rate * values, steps))) / 2


def _lost(rate, steps):
    """`1 - (1 - rate)^(2 steps)`, accurate where the rate is tiny and the steps are many."""
    below = rate < 1
    logarithm = jnp.where(
        below, jnp.log1p(-jnp.where(below, rate, 0)), jnp.log(jnp.where(below, 1, rate - 1))
    )
    return -jnp.expm1(2 * steps * logarithm)


def _weights(loss, outputs, slopes, labels):
    """A square root of each row's second derivatives, and what it takes to the row's slope."""
    classes = outputs.shape[1]
    if loss == "squared-error":
        scale = (2 / classes) ** 0.5
        unit = scale * jnp.eye(classes, dtype=outputs.dtype)[None]
        return jnp.broadcast_to(unit, (*outputs.shape, classes)), slopes / scale
    halves = jax.nn.log_softmax(outputs) / 2
    near, others = jnp.exp(halves), -jnp.expm1(2 * halves)  # sqrt(p) and 1 - p, all digits kept
    off = -jnp.square(near)[:, :, None] * near[:, None, :]
    roots = jnp.where(jnp.eye(classes, dtype=bool)[None], (near * others)[:, :, None], off)
    chosen = jax.nn.one_hot(labels, classes, dtype=bool)
    return roots, jnp.where(chosen, 2 * jnp.sinh(halves), near)
