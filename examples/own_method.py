"""A method of your own in one file: weights that may not grow beyond their first norm.

neoteny run spectral-collapse-digits --plugin examples/own_method.py --methods bp,norm_cap
"""

import jax
import jax.numpy as jnp

from neoteny.interventions import Intervention, every
from neoteny.methods import METHODS, Method


def norm_cap(*, factor: float = 1.0, period: int = 10) -> Method:
    """Every few mini-batches, shrink each array back to `factor` times its first norm."""

    def apply(learner, first_norms, *, key, batch, features):
        del key, batch, features
        cap = lambda p, n: p * jnp.minimum(1.0, factor * n / (jnp.linalg.norm(p) + 1e-8))
        matrices = lambda p, n: cap(p, n) if p.ndim > 1 else p
        params = jax.tree.map(matrices, learner.params, first_norms)
        return learner._replace(params=params), first_norms

    intervention = Intervention(lambda params: jax.tree.map(jnp.linalg.norm, params), apply)
    return Method(interventions=lambda network, optimiser: (every(period, intervention),))


METHODS["norm_cap"] = norm_cap
