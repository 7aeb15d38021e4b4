import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.probes import displacement, gradient_norm, weight_norm


@pytest.fixture
def params(key):
    return {"kernel": jax.random.normal(key, (3, 4)), "rest": (jnp.ones(2), jnp.array(2.0))}


def test_the_weight_norm_is_that_of_all_parameters_as_one_vector(params):
    flat = ravel_pytree(params)[0]
    np.testing.assert_allclose(weight_norm(params), np.linalg.norm(flat), rtol=1e-14)


def test_the_gradient_norm_of_a_quadratic_is_that_of_its_linear_map(params):
    flat = ravel_pytree(params)[0]
    curvatures = jnp.arange(float(flat.size))
    loss = lambda p: 0.5 * jnp.sum(curvatures * ravel_pytree(p)[0] ** 2)
    exact = np.linalg.norm(curvatures * flat)
    np.testing.assert_allclose(gradient_norm(loss, params), exact, rtol=1e-14)


def test_the_displacement_is_a_distance(params):
    moved = jax.tree.map(lambda leaf: leaf + 0.5, params)
    np.testing.assert_allclose(displacement(moved, params), 0.5 * np.sqrt(15), rtol=1e-14)
    assert displacement(moved, params) == displacement(params, moved)
    assert displacement(params, params) == 0


def test_half_precision_parameters_are_summed_in_float32():
    many = {"w": jnp.ones(10_000, jnp.bfloat16)}  # whose running sum in bfloat16 stops at 256
    assert weight_norm(many) == 100
    assert weight_norm(many).dtype == jnp.float32


def test_parameters_of_two_architectures_have_no_distance(params):
    with pytest.raises(ValueError, match=r"`start` is .*\(4, 4\)"):
        displacement(params, params | {"kernel": jnp.ones((4, 4))})
    with pytest.raises(ValueError, match="different arrays"):
        displacement(params, {"kernel": params["kernel"]})


def test_no_parameters_have_no_norm():
    with pytest.raises(ValueError, match="holds no arrays"):
        weight_norm({})
