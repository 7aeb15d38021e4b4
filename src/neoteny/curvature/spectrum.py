"""Spectra of curvature, and the numbers that sum them up, each with its standard error."""

from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float64, PyTree

from neoteny.curvature.lanczos import check_num_steps, lanczos
from neoteny.curvature.operators import Operator, hessian_vector_product, ravel_params
from neoteny.types import Loss, PRNGKey


class Spectrum(NamedTuple):
    """Gauss quadratures of a symmetric matrix's spectral measure, one per start vector.

    Each row of `weights` sums to one. `nodes` carry the units of the matrix: for a Hessian,
    units of loss per squared unit of parameter. They ascend; where Lanczos ran out of new
    directions, the row is filled up with nodes of 0 whose weight is exactly 0. A row is NaN
    where the matrix was.

    - `residuals`: how far at most each node is from an eigenvalue, but for the rounding of
      the products. 0 stands for exact, for spectra made by hand.
    """

    nodes: Float64[np.ndarray, "probes steps"]
    weights: Float64[np.ndarray, "probes steps"]
    residuals: Float64[np.ndarray, "probes steps"] | float = 0.0


class Estimate(NamedTuple):
    """A mean over probe vectors and its standard error: NaN where there was one probe."""

    value: np.ndarray | float
    standard_error: np.ndarray | float


class Extremes(NamedTuple):
    """The outermost Ritz values, and how far at most an eigenvalue is from each.

    No Ritz value lies outside the true spectrum, so the errors point outwards.
    """

    smallest: float
    largest: float
    smallest_error: float
    largest_error: float


def hessian_spectrum(
    loss: Loss,
    params: PyTree,
    key: PRNGKey,
    *,
    num_steps: int = 64,
    num_probes: int = 4,
    batch_probes: bool | None = None,
    basis: str = "full",
) -> Spectrum:
    """Estimate the spectral density of the Hessian of `loss` at `params`.

    Stochastic Lanczos quadrature: a mean over probes of `sum(weights * f(nodes))` is an
    unbiased estimate of `trace(f(H)) / n` for every polynomial `f` of degree up to
    `2 * num_steps - 1`, and the better for other `f` the smoother they are. Costs
    `num_probes * num_steps` Hessian-vector products and `num_steps` copies of the
    parameters; stops early where the Hessian has fewer distinct eigenvalues.

    Compiles on every call, and so belongs outside `jit`. In a loop, compile
    `lanczos_coefficients` once, with the batch as an argument, and pass its results to
    `quadrature`. XLA runs gradients of plain convolutions slowly inside loops on CPU.

    **Arguments:**

    - `loss`: maps parameters to a scalar; close over the batch.
    - `params`: where to measure; any pytree of float32 or float64 arrays, `n` in total.
    - `key`: draws the random-sign start vectors; more probes begin with the same ones.
    - `num_steps`: Lanczos steps; `num_steps=n` gives every eigenvalue to rounding.
    - `num_probes`: start vectors to average over; the error falls as its square root.
    - `batch_probes`: advance all probes at once, with `num_probes` times the memory, rather
      than one by one. By default on accelerators alone: a CPU core takes half as long again.
    - `basis`: "half" or "none" for less memory and the errors that `lanczos` tells of.

    **Raises:** `ValueError` if `num_steps` is below 1 or above `n`, `num_probes` is below 1,
    a leaf is of another type, `loss` returns no scalar, for another `basis`, or if all this is
    inside `jit`.

    **Source:** Ghorbani, Krishnan & Xiao (2019); the quadrature is Golub & Welsch (1969).
    They report the smoothed density: that is `density` of what this returns.
    """
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, key))):
        raise ValueError(_traced_message())

    @jax.jit
    def coefficients(params, key):
        return lanczos_coefficients(
            loss, params, key, num_steps, num_probes, batch_probes=batch_probes, basis=basis
        )

    return quadrature(*coefficients(params, key))


def lanczos_coefficients(
    loss: Loss,
    params: PyTree,
    key: PRNGKey,
    num_steps: int = 64,
    num_probes: int = 4,
    *,
    batch_probes: bool | None = None,
    basis: str = "full",
) -> tuple[Float[Array, "probes steps"], Float[Array, "probes steps"]]:
    """The device half of `hessian_spectrum`, to be jitted: diagonals and off-diagonals of T."""
    check_num_steps(num_steps, ravel_params(params)[0].size)
    operator = hessian_vector_product(loss, params)
    return operator_coefficients(
        operator, key, num_steps, num_probes, batch_probes=batch_probes, basis=basis
    )


def operator_coefficients(
    operator: Operator,
    key: PRNGKey,
    num_steps: int = 64,
    num_probes: int = 4,
    *,
    batch_probes: bool | None = None,
    basis: str = "full",
) -> tuple[Float[Array, "probes steps"], Float[Array, "probes steps"]]:
    """Run Lanczos on any operator from random-sign vectors: `lanczos_coefficients` for all.

    To be jitted together with the making of the operator, and read by `quadrature`.
    """
    check_num_steps(num_steps, operator.size)
    if num_probes < 1:
        raise ValueError(
            f"`num_probes` is {num_probes}, but a spectrum needs at least 1 start vector, and "
            "2 for a standard error. Pass `num_probes=4`."
        )

    def probe(index):
        draw = jax.random.fold_in(key, index)
        start = jax.random.rademacher(draw, (operator.size,), operator.dtype)
        result = lanczos(operator.matvec, start, num_steps, basis=basis)
        return result.alphas, result.betas

    if batch_probes is None:
        batch_probes = jax.default_backend() != "cpu"
    indices = np.arange(num_probes)
    return jax.vmap(probe)(indices) if batch_probes else lax.map(probe, indices)


def quadrature(
    alphas: Float[Array | np.ndarray, "probes steps"],
    betas: Float[Array | np.ndarray, "probes steps"],
) -> Spectrum:
    """Turn Lanczos coefficients into nodes and weights, on the host and in float64.

    Nodes are the eigenvalues of the tridiagonal matrix, weights the squared first components
    of its eigenvectors. The first `beta` of exactly zero ends a row.

    **Source:** Golub & Welsch (1969).
    """
    rows = zip(np.asarray(alphas, np.float64), np.asarray(betas, np.float64), strict=True)
    return Spectrum(*map(np.stack, zip(*(_golub_welsch(*row) for row in rows), strict=True)))


def _golub_welsch(alphas, betas):
    result = np.zeros((3, len(alphas)))
    ends = np.flatnonzero(betas == 0)
    taken = 1 + ends[0] if ends.size else len(alphas)
    alphas, last, betas = alphas[:taken], betas[taken - 1], betas[: taken - 1]
    if not np.isfinite([*alphas, *betas, last]).all():
        return np.full_like(result, np.nan)
    nodes, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
    result[:, :taken] = nodes, vectors[0] ** 2, np.abs(last * vectors[-1])
    return result


def epsilon_rank(spectrum: Spectrum, size: int, epsilon: ArrayLike) -> Estimate:
    """Estimate how many of `size` eigenvalues exceed `epsilon` in absolute value.

    Counted from the quadrature weights, with no smoothing kernel. An array of epsilons gives
    a curve. With `size=1` the result is a share. A zero Hessian counts 0 at every epsilon.
    The count of `r` in few probes errs by about `sqrt(2 * r / num_probes)`, and that is in
    the standard error; not in it is that nodes are fewer than eigenvalues, so that epsilons
    within the bulk see it in lumps: `epsilon_rank_doubt` tells.
    """
    _check_size(size)
    bounds = _not_negative("epsilon", epsilon)
    return _estimate(size * _share(spectrum, np.abs(spectrum.nodes), bounds))


def epsilon_rank_doubt(
    spectrum: Spectrum, size: int, epsilon: float, most: float | int | None = None
) -> float:
    """How many of `size` eigenvalues may lie on the other side of `epsilon` than their node does.

    Only the nodes next to a threshold, on either side, can have weight that belongs across it; and
    of a node at a distance `d` from it whose residual is `r`, a share of at most `(r / d)^2` does.
    Where there is a gap around the threshold this is next to nothing. Where it is as large as
    `epsilon_rank`, or as what that leaves below, the threshold stands in a bulk that the nodes do
    not resolve: the count is then no measurement, however small its standard error. Averaged over
    probes; zero for spectra without residuals, which are exact.

    - `most`: how many can be beyond at all, where that is known: the rank of a Gauss-Newton matrix
      is at most `rows * (classes - 1)`, so that its many zeros put no more than that in doubt.

    **Source:** the first from the separation theorem of Chebyshev, Markov and Stieltjes (Szegő,
    1939, section 3.41); the second is what `H y = theta y + r` lets a unit vector `y` have in
    eigenspaces that are `d` away.
    """
    _check_size(size)
    _not_negative("epsilon", epsilon)
    residuals = np.broadcast_to(spectrum.residuals, spectrum.nodes.shape)
    rows = list(zip(spectrum.nodes, spectrum.weights, residuals, strict=True))
    sides = [_across(n, w, r, epsilon) + _across(-n[::-1], w[::-1], r[::-1], epsilon)
             for n, w, r in rows]  # fmt: skip
    inside, beyond = size * np.mean(sides, axis=0)
    if most is not None:
        inside = min(inside, max(most - float(epsilon_rank(spectrum, size, epsilon).value), 0.0))
    return float(inside + beyond)


def _across(nodes, weights, residuals, threshold):
    """The weight that the last node up to a threshold, and the first beyond, may have across it."""
    real = weights > 0  # and not what fills up a row
    nodes, weights, residuals = nodes[real], weights[real], residuals[real]
    distance = np.abs(nodes - threshold)
    rough = residuals >= distance
    astray = weights * np.where(rough, 1, residuals / np.where(rough, 1, distance)) ** 2
    first = int(np.sum(nodes <= threshold))
    inside = astray[first - 1] if first else 0.0
    return np.array([inside, astray[first : first + 1].sum()])


def relative_epsilon_rank(spectrum: Spectrum, size: int, ratio: ArrayLike) -> Estimate:
    """`epsilon_rank` at `ratio` times the largest absolute eigenvalue; 0 for a zero Hessian.

    It has no units, and does not move when the loss is scaled.
    """
    largest = np.max(np.abs(spectrum.nodes))
    return epsilon_rank(spectrum, size, largest * _not_negative("ratio", ratio))


def negative_share(spectrum: Spectrum, epsilon: ArrayLike = 0.0) -> Estimate:
    """Estimate the share of eigenvalues below `-epsilon`; 0 for a zero Hessian.

    In float32 the sign of an eigenvalue below 1e-6 of the largest is noise: choose `epsilon`
    above that.
    """
    return _estimate(_share(spectrum, -spectrum.nodes, _not_negative("epsilon", epsilon)))


def effective_rank(spectrum: Spectrum, size: int) -> Estimate:
    """Estimate the exponential of the entropy of `|eigenvalues| / sum(|eigenvalues|)`.

    Ritz values count by their weights, so that the result stands for all `size` eigenvalues,
    not for the few Ritz values. Sum and entropy are averaged over probes before they are
    combined; the standard error is that of the jackknife. The entropy is no polynomial:
    of a bulk that the nodes do not resolve it is an approximation, which more steps improve.
    A zero Hessian has effective rank 0.

    **Source:** Roy & Vetterli (2007) for the quantity, of singular values.
    """
    _check_size(size)
    scale = np.max(np.abs(spectrum.nodes)) or 1.0
    values = np.abs(spectrum.nodes) / scale
    logarithms = np.log(np.where(values == 0, 1, values))
    masses = np.sum(spectrum.weights * values, axis=1)
    entropies = np.sum(spectrum.weights * values * logarithms, axis=1)
    value = _exponential_entropy(size, masses.mean(), entropies.mean())
    if (probes := len(masses)) == 1:
        return Estimate(float(value), np.nan)
    others = lambda terms: (terms.sum() - terms) / (probes - 1)
    left_out = _exponential_entropy(size, others(masses), others(entropies))
    return Estimate(float(value), float(np.sqrt(probes - 1) * np.std(left_out)))


def trace(spectrum: Spectrum, size: int) -> Estimate:
    """Estimate the sum of all `size` eigenvalues: Hutchinson's estimator on the same probes."""
    _check_size(size)
    return _estimate(size * np.sum(spectrum.weights * spectrum.nodes, axis=1))


def extreme_eigenvalues(spectrum: Spectrum) -> Extremes:
    """The smallest and the largest Ritz value of all probes; zeros for a zero Hessian."""
    real = spectrum.weights != 0
    residuals = np.broadcast_to(spectrum.residuals, spectrum.nodes.shape)[real]
    nodes = spectrum.nodes[real]
    low, high = np.argmin(nodes), np.argmax(nodes)
    return Extremes(*map(float, (nodes[low], nodes[high], residuals[low], residuals[high])))


def density(spectrum: Spectrum, grid: Float[np.ndarray, " points"], width: float) -> Estimate:
    """Smooth the spectrum with a Gaussian of standard deviation `width`, for plots alone.

    It integrates to one. A kernel wider than epsilon makes nonsense of ranks read off it.
    """
    if not width > 0:
        raise ValueError(f"`width` is {width}, but a kernel's is positive. Pass one grid step.")
    distance = (np.asarray(grid)[:, None, None] - spectrum.nodes) / width
    kernel = np.exp(-0.5 * distance**2) / (width * np.sqrt(2 * np.pi))
    return _estimate(np.sum(spectrum.weights * kernel, axis=2).T)


def budget_epsilon(learning_rate: float, steps: int) -> float:
    """`1 / (learning_rate * steps)`: the curvature along which such a budget just gets by.

    Gradient descent shrinks the error along an eigenvalue by about
    `exp(-eigenvalue * learning_rate * steps)`: eigenvalues far below this leave it standing.
    """
    if not (learning_rate > 0 and steps > 0):
        raise ValueError(
            f"`learning_rate` is {learning_rate} and `steps` is {steps}, but a budget has both "
            "positive. Pass the step size, and how many steps are taken on a task."
        )
    return 1 / (learning_rate * steps)


def _share(spectrum, values, bounds):
    """Per probe, the weight of nodes whose value exceeds each bound: (probes, *bounds)."""
    above = values > bounds[..., None, None]
    return np.moveaxis(np.sum(spectrum.weights * above, axis=-1), -1, 0)


def _estimate(per_probe) -> Estimate:
    probes = len(per_probe)
    mean = np.mean(per_probe, axis=0)
    if probes == 1:
        error = np.full_like(mean, np.nan)
    else:
        error = np.std(per_probe, axis=0, ddof=1) / np.sqrt(probes)
    return Estimate(*(float(part) if mean.ndim == 0 else part for part in (mean, error)))


def _exponential_entropy(size, mass, entropy):
    """With mass = sum(w x) and entropy = sum(w x log x) per eigenvalue, for any scale of x."""
    nothing = mass == 0
    return np.where(nothing, 0, size * mass * np.exp(-entropy / np.where(nothing, 1, mass)))


def _check_size(size) -> None:
    if size < 1:
        raise ValueError(f"`size` is {size}. Pass the number of parameters, or 1 for shares.")


def _not_negative(name, value):
    array = np.asarray(value, np.float64)
    if not (array >= 0).all():
        raise ValueError(
            f"`{name}` is {value}, but absolute eigenvalues are compared with it. Pass 0 or more."
        )
    return array


def _traced_message() -> str:
    return (
        "`hessian_spectrum` was called inside `jit`, but it finishes on the host, in float64. "
        "Jit `lanczos_coefficients(loss, params, key, num_steps, num_probes)` instead, and call "
        "`quadrature(alphas, betas)` on what it returns."
    )
