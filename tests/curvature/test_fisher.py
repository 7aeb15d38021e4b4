"""Fisher matrices against sums over rows and labels of outer products of gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.curvature.exact import dense
from neoteny.curvature.fisher import empirical_fisher_vector_product, fisher_vector_product

ROUNDING = 1e-12
ROWS, CLASSES = 6, 3
INPUTS = jax.random.normal(jax.random.key(1), (ROWS, 4))
LABELS = jnp.arange(ROWS) % CLASSES


@pytest.fixture
def params(key):
    keys = jax.random.split(key)
    return [jax.random.normal(keys[0], (4, 3)), jax.random.normal(keys[1], (3, CLASSES))]


def logits(params, inputs):
    return jnp.tanh(inputs @ params[0]) @ params[1]


def losses(params, labels=LABELS):
    log = jax.nn.log_softmax(logits(params, INPUTS))
    return -log[jnp.arange(ROWS), labels]


def row_gradients(params, labels):
    """One row's gradient at a time, from a network that sees no other row."""
    flat, unravel = ravel_pytree(params)
    loss = lambda vector, x, y: -jax.nn.log_softmax(logits(unravel(vector), x[None]))[0, y]
    gradient = jax.jit(jax.grad(loss))
    return [gradient(flat, x, y) for x, y in zip(INPUTS, labels, strict=True)]


def test_the_empirical_fisher_matrix_is_the_mean_outer_product_of_the_rows_gradients(params):
    exact = sum(np.outer(g, g) for g in row_gradients(params, LABELS)) / ROWS
    found = dense(empirical_fisher_vector_product(losses, params))
    np.testing.assert_allclose(found, exact, rtol=0, atol=ROUNDING)
    assert np.linalg.matrix_rank(found) == ROWS


def test_the_fisher_matrix_is_the_mean_over_rows_of_the_expectation_over_the_models_labels(params):
    probabilities = jax.nn.softmax(logits(params, INPUTS))
    exact = 0
    for label in range(CLASSES):
        gradients = row_gradients(params, jnp.full(ROWS, label))
        weighted = zip(probabilities[:, label], gradients, strict=True)
        exact += sum(p * np.outer(g, g) for p, g in weighted) / ROWS
    found = dense(fisher_vector_product(lambda p: logits(p, INPUTS), params))
    np.testing.assert_allclose(found, exact, rtol=0, atol=ROUNDING)


def test_with_labels_drawn_from_the_model_the_empirical_matrix_is_the_fisher_matrix_on_average(
    params, key
):
    draws = jax.random.categorical(key, logits(params, INPUTS), shape=(4096, ROWS))
    vector = jnp.cos(jnp.arange(21.0))
    product = lambda labels: empirical_fisher_vector_product(
        lambda p: losses(p, labels), params
    ).matvec(vector)
    samples = jax.jit(jax.vmap(product))(draws)
    exact = fisher_vector_product(lambda p: logits(p, INPUTS), params).matvec(vector)
    error = samples.std(axis=0) / np.sqrt(len(draws))
    assert jnp.max(jnp.abs(samples.mean(axis=0) - exact) / error) < 4


def test_no_gradient_of_a_row_is_formed(params):
    product = lambda vector: empirical_fisher_vector_product(losses, params).matvec(vector)
    program = jax.jit(product).lower(jnp.ones(21)).as_text()
    assert f"{ROWS}x21x" not in program and f"{ROWS}x4x3x" not in program


def test_losses_that_are_not_one_a_row_are_refused_with_a_remedy(params):
    with pytest.raises(ValueError, match=r"shape \(\).*Leave out the mean"):
        empirical_fisher_vector_product(lambda p: jnp.mean(losses(p)), params)
    with pytest.raises(ValueError, match="returned a tuple"):
        empirical_fisher_vector_product(lambda p: (losses(p), p), params)
