"""Spectral decoupling: the penalty by its formula, and the point of rest that it makes."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from neoteny.interventions import spectral_decoupling
from neoteny.losses import cross_entropy


def penalty(outputs, strength, target=0.0):
    part = spectral_decoupling(strength, target=target)
    return part.apply((), (), part.init(()), outputs=outputs, batch=None)[0]


def test_it_is_half_the_strength_by_the_mean_squared_distance_of_a_row(key):
    outputs = jax.random.normal(key, (7, 3))
    expected = 0.5 * 0.3 * np.mean(np.linalg.norm(np.asarray(outputs) - 0.2, axis=1) ** 2)
    np.testing.assert_allclose(penalty(outputs, 0.3, 0.2), expected)


def test_at_rest_each_row_has_the_margin_that_solves_one_scalar_equation():
    """Of two classes `sigmoid(-d) = strength d / 2`, with `d` the label's logit less the other."""
    strength, labels = 0.1, jnp.array([0, 1, 1])
    root = brentq(lambda d: 1 / (1 + np.exp(d)) - strength * d / 2, 0, 100)
    signs = 2.0 * labels - 1
    rest = jnp.stack([-signs, signs], 1) * root / 2
    loss = lambda outputs: cross_entropy(outputs, labels).mean() + penalty(outputs, strength)
    np.testing.assert_allclose(jax.grad(loss)(rest), 0, atol=1e-12)
    assert np.linalg.eigvalsh(jax.hessian(loss)(rest).reshape(6, 6)).min() > 0
