"""How many directions a layer's features fill."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from neoteny.types import Snapshot

# Singular values up to this fraction of the largest count as zero: about twice the rounding
# of float32, below which features computed in float32 hold noise, and above the square root
# of float64's rounding, down to which a float64 Gram matrix resolves them.
_CUT = 2.0**-22

_WHOLE = 200  # rows; below it the upper triangle costs less than the parting of blocks


class FeatureRanks(NamedTuple):
    """Four ranks of a feature matrix; as a run's probe, one entry for each hidden layer."""

    effective_rank: Float[Array, "*layers"]
    stable_rank: Float[Array, "*layers"]
    srank: Float[Array, "*layers"]
    approximate_rank: Float[Array, "*layers"]


def ranks(snapshot: Snapshot) -> FeatureRanks:
    """Measure the `feature_ranks` of every hidden layer on the snapshot's rows."""
    _, features = snapshot.network.apply(snapshot.params, snapshot.batch.inputs)
    layers = [feature_ranks(layer) for layer in features]
    fields = ([layer[i] for layer in layers] for i in range(len(FeatureRanks._fields)))
    return FeatureRanks(*map(jnp.array, fields))


def effective_rank(features: Float[Array, "rows units"]) -> Scalar:
    """Compute `exp(H(p))`, the exponential entropy of `p = sigma / sum(sigma)`.

    `sigma` are the singular values of `features`, not centred. The value lies between 1 and
    `min(rows, units)` and does not depend on the features' scale; features that are all zero
    have rank 0 and no gradient, and NaN gives NaN.

    Costs one symmetric eigendecomposition of order `min(rows, units)` in float64, whatever
    `jax_enable_x64` says: in float32 the gradient errs by percents on a collapsed spectrum.
    First derivatives are in closed form, in both modes: along `u_i v_i^T` the derivative is
    `-effective_rank * (log p_i + H) / sum(sigma)`. It grows without bound as `sigma_i` falls
    to zero, so singular values up to `2^-22` of the largest count as zero and get no gradient:
    maximising this strengthens weak directions, but cannot revive a dead one.

    **Raises:** `ValueError` if `features` is empty or not a matrix; `NotImplementedError` for
    second derivatives.

    **Source:** Roy & Vetterli (2007). They leave zero features undefined.
    """
    return _differentiable_effective_rank(_checked(features))


def stable_rank(features: Float[Array, "rows units"]) -> Scalar:
    """Compute `||features||_F^2 / sigma_1^2`, at most the rank and smooth where `sigma_1` is.

    Some papers on plasticity call another quantity by this name: that one is `srank`.
    Differentiable, with the cost, the cut and the errors of `effective_rank`.
    """
    return _differentiable_stable_rank(_checked(features))


def srank(features: Float[Array, "rows units"], delta: float = 0.01) -> Scalar:
    """Count the largest singular values that hold `1 - delta` of their sum.

    With `delta=0`, the number of singular values above `2^-22` of the largest. A count, but
    a float, so that NaN features give NaN. Cost and errors are those of `effective_rank`.

    **Raises:** `ValueError` if `delta` is not in [0, 1).

    **Source:** Kumar et al. (2021).
    """
    if not 0 <= delta < 1:
        raise ValueError(
            f"`delta` is {delta}, but it is the share of the singular values' sum to leave out, "
            "from 0 up to but not including 1. Pass `delta=0.01` for the published rank."
        )
    return _count_holding(_singular_values(_checked(features)), delta)


def approximate_rank(features: Float[Array, "rows units"], energy: float = 0.99) -> Scalar:
    """Count the largest singular values whose squares hold `energy` of the sum of squares.

    That is the number of principal components, not centred, which explain this share of the
    features. Otherwise as `srank`.

    **Raises:** `ValueError` if `energy` is not in (0, 1].

    **Source:** Yang et al. (2019), as measured by Dohare et al. (2024).
    """
    if not 0 < energy <= 1:
        raise ValueError(
            f"`energy` is {energy}, but it is the share of the sum of squares to hold, above 0 "
            "and up to 1. Pass `energy=0.99` for the published rank."
        )
    return _count_holding(_singular_values(_checked(features)) ** 2, 1 - energy)


def feature_ranks(features: Float[Array, "rows units"]) -> FeatureRanks:
    """Compute all four ranks, at their published settings, from one decomposition.

    A measurement, with no derivative: differentiate `effective_rank` or `stable_rank`.
    """
    sigma = _singular_values(_checked(features))
    return FeatureRanks(
        effective_rank=_effective_rank(sigma),
        stable_rank=_stable_rank(sigma),
        srank=_count_holding(sigma, 0.01),
        approximate_rank=_count_holding(sigma**2, 0.01),
    )


def _checked(features):
    if not hasattr(features, "ndim"):
        raise ValueError(
            f"`features` is a {type(features).__name__}, but a rank is that of one matrix (rows, "
            "units). Of a list of layers measure each, as in `[effective_rank(layer) for layer in "
            "features]`; of numbers pass `jnp.array(features)`."
        )
    if features.ndim != 2:
        raise ValueError(
            f"`features` has shape {features.shape}, but a rank is that of a matrix "
            "(rows, units). Pass `features.reshape(len(features), -1)` to count every position "
            "as a unit, or `features.reshape(-1, features.shape[-1])` to count it as a row."
        )
    if features.size == 0:
        raise ValueError(
            f"`features` has shape {features.shape}, but a rank needs at least one row and one "
            "unit. Pass the features of a batch that has rows."
        )
    return features


def _effective_rank(sigma):
    total = jnp.sum(sigma)
    p = sigma / jnp.where(total == 0, 1, total)
    entropy = -jnp.sum(p * jnp.log(jnp.where(p == 0, 1, p)))
    return jnp.where(total == 0, 0, jnp.exp(entropy))


def _stable_rank(sigma):
    largest = sigma[-1]
    return jnp.sum((sigma / jnp.where(largest == 0, 1, largest)) ** 2)


def _count_holding(ascending, left_out):
    total = jnp.sum(ascending)
    spared = left_out * (1 + 1e-5) * total  # or rounding would decide ties of equal values
    count = jnp.sum(jnp.cumsum(ascending) > spared).astype(total.dtype)
    return jnp.where(jnp.isfinite(total), count, jnp.nan)


def _differentiable(summary):
    """`summary(sigma)` of a matrix, differentiated as a spectral function.

    Its gradient is `left @ diag(slopes) @ right`. With `matrix = left @ diag(sigma) @ right`
    and a wide matrix that is `(left @ diag(slopes / sigma) @ left.T) @ matrix`: one small
    matrix and one product, without the other singular vectors.
    """

    def gradient(matrix):
        near, sigma = _float64_left(matrix)
        slopes = jax.grad(summary)(sigma)
        ratios = jnp.where(sigma == 0, 0, slopes / jnp.where(sigma == 0, 1, sigma))
        weighted = (near * ratios[None, :]) @ near.T
        wide = matrix.shape[0] <= matrix.shape[1]
        return summary(sigma), weighted @ matrix if wide else matrix @ weighted

    value_and_gradient = _once_differentiable(_in_float64(gradient))

    @jax.custom_jvp
    def rank(matrix):
        return summary(_singular_values(matrix))

    @rank.defjvp
    def _(primals, tangents):
        value, slope = value_and_gradient(*primals)
        return value, jnp.vdot(slope, tangents[0].astype(slope.dtype), precision="highest")

    return rank


def _once_differentiable(function):
    guarded = jax.custom_jvp(function)

    @guarded.defjvp
    def _(primals, tangents):
        raise NotImplementedError(
            "The ranks of features have first derivatives only: a second one divides by the gaps "
            "between singular values. For a Hessian, differentiate the task loss without its rank "
            "penalty."
        )

    return guarded


def _in_float64(function):
    """`function` of a matrix, computed in float64 and rounded to the type of its input.

    The context manager holds while this is traced, but `jax.vmap` of a jitted caller rewrites
    the trace later, when float64 may be off again. Hence the batching rule below, which traces
    anew.
    """

    @jax.custom_batching.custom_vmap
    def computed(stack):
        kind = stack.dtype if stack.dtype == jnp.float64 else jnp.float32
        with jax.enable_x64(True):
            inner = function
            for _ in range(stack.ndim - 2):
                inner = jax.vmap(inner)
            result = inner(stack.astype(jnp.float64))
            return jax.tree.map(lambda array: array.astype(kind), result)

    @computed.def_vmap
    def _(axis_size, in_batched, stack):
        del axis_size, in_batched
        result = computed(stack)
        return result, jax.tree.map(lambda _: True, result)

    return computed


def _float64_left(matrix):
    """Singular vectors on the shorter side, and singular values: those below the cut are zero."""
    wide = matrix.shape[0] <= matrix.shape[1]
    gram = _lower_gram(matrix if wide else matrix.T)
    squares, near = jnp.linalg.eigh(gram, symmetrize_input=False)
    sigma = jnp.sqrt(jnp.maximum(squares, 0))
    return near, jnp.where(sigma <= _CUT * sigma[-1], 0, sigma)


def _lower_gram(rows):
    """`rows @ rows.T` on and below the diagonal, which is all that `eigh` reads of it."""
    count, half = len(rows), len(rows) // 2
    if count < _WHOLE:
        return rows @ rows.T
    above, below = rows[:half], rows[half:]
    empty = jnp.zeros((half, count - half), rows.dtype)
    return jnp.block([[_lower_gram(above), empty], [below @ above.T, _lower_gram(below)]])


_singular_values_in_float64 = _in_float64(lambda matrix: _float64_left(matrix)[1])


def _singular_values(matrix):
    """Singular values in ascending order, those below the cut exactly zero; no derivative."""
    return _singular_values_in_float64(jax.lax.stop_gradient(matrix))


_differentiable_effective_rank = _differentiable(_effective_rank)
_differentiable_stable_rank = _differentiable(_stable_rank)
