"""More numbers that sum up a spectrum, and how a gradient lies in it."""

import operator as python_operator
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float64, PyTree, Scalar

from neoteny.curvature.eigenpairs import norm
from neoteny.curvature.operators import Operator
from neoteny.curvature.spectrum import Estimate, Spectrum, epsilon_rank, trace

_CURVE_POINTS = 64
_CURVE_DEPTH = 1e-8  # of the largest: below, eigenvalues are rounding even of good products


class Curve(NamedTuple):
    """A count of eigenvalues at each epsilon, with its standard error over probes."""

    epsilons: Float64[np.ndarray, " points"]
    value: Float64[np.ndarray, " points"]
    standard_error: Float64[np.ndarray, " points"]


class GradientCurvature(NamedTuple):
    """What the loss does along its gradient `g`; all zero for a zero gradient.

    - `norm`: `|g|`.
    - `along`: `g^T H g / |g|^2`, in units of the matrix.
    - `cosine`: of the angle between `g` and `H g`: 1 or -1 where `g` is an eigenvector.
    """

    norm: Scalar
    along: Scalar
    cosine: Scalar


def moment(spectrum: Spectrum, size: int, order: int) -> Estimate:
    """Estimate `trace(H^order)`, the sum of the eigenvalues to that power.

    With `size=1` it is the mean of the powers. Unbiased up to order `2 * num_steps - 1`; above
    that the nodes are too few, which the standard error does not show.
    """
    if (power := python_operator.index(order)) < 0:
        raise ValueError(
            f"`order` is {order}, but zero eigenvalues have no negative powers. Pass 0 or more."
        )
    return trace(spectrum._replace(nodes=spectrum.nodes**power), size)


def frobenius_norm(spectrum: Spectrum, size: int) -> Estimate:
    """Estimate the root of the sum of squared eigenvalues, or of squared matrix entries.

    Its square is unbiased from 2 steps on; the standard error is that of the jackknife.
    """
    _check_size(size)
    squares = np.sum(spectrum.weights * spectrum.nodes**2, axis=1)
    return jackknife(size * squares, np.sqrt)


def variance(spectrum: Spectrum) -> Estimate:
    """Estimate the variance of the eigenvalues about their mean.

    The published variance is that of the smoothed density: larger by the kernel's. Biased by
    less than `2 / n` of the mean square, as all probes err in the mean that is subtracted.
    """
    centre = np.mean(np.sum(spectrum.weights * spectrum.nodes, axis=1))
    apart = spectrum.nodes - centre
    terms = np.stack([np.sum(spectrum.weights * apart**k, axis=1) for k in (1, 2)], axis=1)
    return jackknife(terms, lambda mean: np.maximum(mean[1] - mean[0] ** 2, 0))


def log_determinant(spectrum: Spectrum, size: int, shift: float) -> Estimate:
    """Estimate `log(det(H + shift * I))`, the sum of the logarithms of shifted eigenvalues.

    The logarithm is no polynomial: a shift that is small beside the largest eigenvalue needs
    more steps, and the standard error does not show that. A bulk of zeros costs nothing.

    **Raises:** `ValueError` if a Ritz value plus `shift` is not positive: the determinant then
    has no real logarithm.
    """
    _check_size(size)
    real = spectrum.weights != 0
    smallest = np.min(spectrum.nodes[real])
    if smallest + shift <= 0:
        raise ValueError(
            f"`shift` is {shift}, but the smallest Ritz value is {smallest:.6g}, and only a "
            f"positive matrix has a log-determinant. Pass a `shift` above {-smallest:.6g}, as in "
            f"`shift={_rounded_up(2 * abs(smallest))}`."
        )
    logarithms = np.log(np.where(real, spectrum.nodes + shift, 1))
    return jackknife(size * np.sum(spectrum.weights * logarithms, axis=1))


def ritz_effective_rank(spectrum: Spectrum) -> Estimate:
    """The exponential entropy of the Ritz values themselves, without their weights, as published.

    It is at most the number of Lanczos steps and estimates nothing of the matrix: more steps
    give more. For comparison with published numbers only; `effective_rank` is the estimate.
    A zero Hessian has 0.
    """
    values = np.where(spectrum.weights == 0, 0, np.abs(spectrum.nodes))
    totals = np.sum(values, axis=1, keepdims=True)
    shares = values / np.where(totals == 0, 1, totals)
    entropies = -np.sum(shares * np.log(np.where(shares == 0, 1, shares)), axis=1)
    return jackknife(np.where(totals[:, 0] == 0, 0, np.exp(entropies)))


def epsilon_rank_curve(
    spectrum: Spectrum, size: int, epsilons: Float[np.ndarray, " points"] | None = None
) -> Curve:
    """`epsilon_rank` at many epsilons: by default 64 of even ratio, up to the largest node.

    They begin at the smallest node that is not zero, but no lower than 1e-8 of the largest.
    """
    grid = _default_epsilons(spectrum) if epsilons is None else np.asarray(epsilons, np.float64)
    return Curve(grid, *map(np.asarray, epsilon_rank(spectrum, size, grid)))


def edge_of_stability(sharpness: ArrayLike, learning_rate: float) -> ArrayLike:
    """`learning_rate * sharpness / 2`, with the largest eigenvalue of the Hessian as sharpness.

    Above 1, gradient descent without momentum diverges on the quadratic model of the loss;
    training that hovers about 1 is at the edge of stability.

    **Source:** Cohen et al. (2021).
    """
    if not learning_rate > 0:
        raise ValueError(f"`learning_rate` is {learning_rate}. Pass the positive step size.")
    return learning_rate * sharpness / 2


def gradient_curvature(operator: Operator, gradient: PyTree) -> GradientCurvature:
    """Measure the curvature along a gradient, by one product. May be jitted.

    `gradient` is a flat vector, or a pytree shaped like the parameters.
    """
    flat = _flat(gradient, operator.size)
    length, unit = norm(flat), _unit(flat)
    product = operator.matvec(unit)
    along, bent = jnp.sum(unit * product), norm(product)
    return GradientCurvature(length, along, along / jnp.where(bent == 0, 1, bent))


def predicted_decrease(measured: GradientCurvature, learning_rate: ArrayLike) -> Array:
    """How far one gradient step lowers the quadratic model of the loss.

    `learning_rate * |g|^2 - learning_rate^2 * g^T H g / 2`; negative where the step overshoots.
    Exact for a quadratic loss, and otherwise up to the third power of the step.
    """
    return measured.norm**2 * (learning_rate - learning_rate**2 * measured.along / 2)


def gradient_alignment(gradient: PyTree, eigenvectors: Float[Array, "count n"]) -> Scalar:
    """The share of `|g|^2` that lies in the span of orthonormal rows; 0 for a zero gradient.

    With the `eigenvectors` of `extreme_eigenpairs` it says how much of the gradient the top
    space holds; a direction drawn at random has `count / n`. May be jitted.

    **Source:** Gur-Ari, Roberts & Dyer (2018).
    """
    unit = _unit(_flat(gradient, eigenvectors.shape[1]))
    return jnp.sum(jnp.sum(eigenvectors * unit[None], axis=1) ** 2)


def jackknife(
    terms: Float64[np.ndarray, "probes *rest"],
    function: Callable[[np.ndarray], np.ndarray] = lambda mean: mean,
) -> Estimate:
    """`function` of the mean over probes, with its jackknife error: NaN where there was one.

    Of the mean itself this is the usual standard error.
    """
    value, probes = np.asarray(function(np.mean(terms, axis=0))), len(terms)
    if probes == 1:
        error = np.full_like(value, np.nan)
    else:
        others = (np.sum(terms, axis=0) - terms) / (probes - 1)
        error = np.sqrt(probes - 1) * np.std([function(mean) for mean in others], axis=0)
    return Estimate(*(float(part) if part.ndim == 0 else part for part in (value, error)))


def _default_epsilons(spectrum):
    values = np.abs(spectrum.nodes[(spectrum.weights != 0) & (spectrum.nodes != 0)])
    if not values.size or not np.isfinite(values).all():
        return np.geomspace(_CURVE_DEPTH, 1, _CURVE_POINTS)
    lowest = max(values.min(), _CURVE_DEPTH * values.max())
    return np.geomspace(lowest, values.max(), _CURVE_POINTS)


def _flat(gradient, size):
    flat = ravel_pytree(gradient)[0]
    if flat.size != size:
        raise ValueError(
            f"`gradient` holds {flat.size} numbers, but the matrix is {size} x {size}. Pass the "
            "gradient with respect to the same parameters, as in `jax.grad(loss)(params)`."
        )
    return flat


def _unit(vector):
    length = norm(vector)
    return vector / jnp.where(length == 0, 1, length)


def _check_size(size) -> None:
    if size < 1:
        raise ValueError(f"`size` is {size}. Pass the number of parameters, or 1 for shares.")


def _rounded_up(value):
    """A short positive number no smaller than `value`, to be typed."""
    return float(f"{1.1 * value:.1g}") if value > 0 else 1e-6
