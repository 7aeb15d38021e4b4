"""The published, kernel-smoothed epsilon-rank: for comparison only."""

import numpy as np
from jax.typing import ArrayLike

from neoteny.curvature.spectrum import Estimate, Spectrum, density
from neoteny.curvature.summaries import jackknife

_POINTS = 10_000
_MARGIN = 0.01
_VARIANCE = 1e-5  # times the range of the grid, where that is above one


def legacy_smoothed_epsilon_rank(spectrum: Spectrum, epsilon: ArrayLike) -> Estimate:
    """Reproduce a published "share of eigenvalues above epsilon", which is not one.

    The spectrum is smoothed on 10,000 points from 0.01 below the smallest Ritz value to 0.01
    above the largest, by a Gaussian whose *variance* is 1e-5 times that range (or 1e-5 where
    the range is below one), and scaled to a Riemann sum of one. The result is the trapezoidal
    integral over the points where `|x| > epsilon`, the gap between them bridged.

    So it mostly measures the kernel: the larger the top eigenvalue, the more of the mass at
    zero is smeared beyond epsilon, until the grid is so coarse that it steps over the band. A
    share of 0.010 reads from 0.010 to 0.288 as the top eigenvalue alone moves, and values
    above one occur. Use `epsilon_rank(spectrum, 1, epsilon)` for the share itself.

    Each probe is smoothed on a grid of its own; the publication used one probe. `epsilon` may
    be an array, for a curve. A row of NaN gives NaN.

    **Source:** the code published with Prakash et al. (2026), "Spectral Collapse Drives Loss
    of Plasticity in Deep Continual Learning".
    """
    bounds = np.asarray(epsilon, np.float64)
    if not (bounds >= 0).all():
        raise ValueError(
            f"`epsilon` is {epsilon}, but absolute values are compared with it. Pass 0 or more."
        )
    rows = zip(spectrum.nodes, spectrum.weights, strict=True)
    return jackknife(np.stack([_integral_outside(bounds, *row) for row in rows]))


def _integral_outside(bounds, nodes, weights):
    nodes, weights = nodes[weights != 0], weights[weights != 0]
    if not np.isfinite(nodes).all():
        return np.full(bounds.shape, np.nan)
    grid = np.linspace(nodes.min() - _MARGIN, nodes.max() + _MARGIN, _POINTS)
    width = np.sqrt(_VARIANCE * max(1.0, grid[-1] - grid[0]))
    curve = density(Spectrum(nodes[None], weights[None]), grid, width).value
    curve = curve / (np.sum(curve) * (grid[1] - grid[0]))
    outside = [np.abs(grid) > bound for bound in bounds.ravel()]
    integrals = [np.trapezoid(curve[mask], grid[mask]) for mask in outside]
    return np.reshape(integrals, bounds.shape)
