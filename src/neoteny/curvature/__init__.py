"""Curvature of a loss: products with it, and spectra from such products."""

from neoteny.curvature.lanczos import Tridiagonal, lanczos
from neoteny.curvature.operators import Operator, ggn_vector_product, hessian_vector_product
from neoteny.curvature.spectrum import (
    Estimate,
    Extremes,
    Spectrum,
    budget_epsilon,
    density,
    effective_rank,
    epsilon_rank,
    extreme_eigenvalues,
    hessian_spectrum,
    lanczos_coefficients,
    negative_share,
    operator_coefficients,
    quadrature,
    relative_epsilon_rank,
    trace,
)

__all__ = [
    "Estimate",
    "Extremes",
    "Operator",
    "Spectrum",
    "Tridiagonal",
    "budget_epsilon",
    "density",
    "effective_rank",
    "epsilon_rank",
    "extreme_eigenvalues",
    "ggn_vector_product",
    "hessian_spectrum",
    "hessian_vector_product",
    "lanczos",
    "lanczos_coefficients",
    "negative_share",
    "operator_coefficients",
    "quadrature",
    "relative_epsilon_rank",
    "trace",
]
