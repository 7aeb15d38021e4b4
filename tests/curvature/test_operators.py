"""Products with the Hessian and the Gauss-Newton matrix, against the dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.curvature import ggn_vector_product, hessian_vector_product

ROUNDING = 1e-12  # relative; products of some hundred float64 terms err by 1e-14
ROWS, INPUTS, HIDDEN, CLASSES = 7, 3, 4, 3


@pytest.fixture
def batch():
    inputs = jax.random.normal(jax.random.key(1), (ROWS, INPUTS))
    return inputs, jnp.arange(ROWS) % CLASSES


@pytest.fixture
def params():
    keys = jax.random.split(jax.random.key(2), 3)
    return {
        "hidden": (jax.random.normal(keys[0], (INPUTS, HIDDEN)), jnp.zeros(HIDDEN)),
        "readout": jax.random.normal(keys[1], (HIDDEN, CLASSES)),
    }


def logits(params, inputs):
    kernel, bias = params["hidden"]
    return jnp.tanh(inputs @ kernel + bias[None]) @ params["readout"]


def cross_entropy(outputs, labels):
    return -jnp.mean(jax.nn.log_softmax(outputs)[jnp.arange(len(labels)), labels])


def dense(operator):
    return jax.jit(jax.vmap(operator.matvec))(jnp.eye(operator.size))


def test_the_hessian_product_is_the_dense_hessian(params, batch):
    loss = lambda p: cross_entropy(logits(p, batch[0]), batch[1])
    flat, unravel = ravel_pytree(params)
    exact = jax.hessian(lambda vector: loss(unravel(vector)))(flat)
    np.testing.assert_allclose(
        dense(hessian_vector_product(loss, params)), exact, rtol=0, atol=ROUNDING
    )


def test_the_gauss_newton_product_is_the_dense_sandwich(params, batch):
    flat, unravel = ravel_pytree(params)
    outputs = lambda vector: logits(unravel(vector), batch[0])
    jacobian = jax.jacobian(outputs)(flat)
    curvature = jax.vmap(jax.hessian(jax.scipy.special.logsumexp))(outputs(flat))
    exact = jnp.einsum("rcp,rcd,rdq->pq", jacobian, curvature, jacobian) / ROWS
    operator = ggn_vector_product(lambda p: logits(p, batch[0]), params)
    np.testing.assert_allclose(dense(operator), exact, rtol=0, atol=ROUNDING)


def test_the_gauss_newton_matrix_is_the_hessian_of_a_linear_model_but_of_no_deeper_one(
    params, batch
):
    def distance(outputs, params):
        ggn = ggn_vector_product(outputs, params)
        hessian = hessian_vector_product(lambda p: cross_entropy(outputs(p), batch[1]), params)
        return jnp.max(jnp.abs(dense(ggn) - dense(hessian)))

    kernel = params["readout"][:INPUTS]
    assert distance(lambda kernel: batch[0] @ kernel, kernel) < ROUNDING
    assert distance(lambda p: logits(p, batch[0]), params) > 1e-2


def test_the_gauss_newton_matrix_has_a_rank_of_rows_times_classes_less_one(params, batch):
    operator = ggn_vector_product(lambda p: logits(p, batch[0][:2]), params)
    values = jnp.linalg.eigvalsh(dense(operator))
    assert jnp.sum(values > 1e-10) == 2 * (CLASSES - 1)
    assert values[0] > -ROUNDING


@pytest.mark.parametrize("build", ["hessian", "ggn"])
def test_a_vector_may_be_flat_or_shaped_like_the_parameters(params, batch, build):
    outputs = lambda p: logits(p, batch[0])
    if build == "ggn":
        operator = ggn_vector_product(outputs, params)
    else:
        operator = hessian_vector_product(lambda p: cross_entropy(outputs(p), batch[1]), params)
    flat, unravel = ravel_pytree(jax.tree.map(jnp.cos, params))
    shaped = operator.matvec(unravel(flat))
    assert jax.tree.structure(shaped) == jax.tree.structure(params)
    np.testing.assert_array_equal(ravel_pytree(shaped)[0], operator.matvec(flat))


def test_the_gradient_is_traced_once_for_all_products():
    traces = []

    def loss(x):
        traces.append(x)
        return jnp.sum(x**4)

    operator = hessian_vector_product(loss, jnp.ones(3))
    before = len(traces)
    for _ in range(3):
        operator.matvec(jnp.ones(3))
    assert len(traces) == before


def test_matrix_products_are_asked_for_in_full_precision_and_settings_stay_as_they_were():
    matrix = jnp.ones((3, 3))

    def product(params, vector):
        loss = lambda p: jnp.sum((matrix @ p) ** 4)
        return hessian_vector_product(loss, params).matvec(vector)

    before = jax.config.jax_default_matmul_precision
    program = jax.jit(product).lower(jnp.ones(3), jnp.ones(3)).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert products and all("HIGHEST" in line for line in products)
    assert jax.config.jax_default_matmul_precision == before


@pytest.mark.parametrize(
    ("loss", "params", "message"),
    [
        (jnp.sum, {"a": jnp.arange(3)}, r"params\['a'\]` is int"),
        (jnp.sum, [jnp.ones(3, jnp.bfloat16)], r"params\[0\]` is bfloat16"),
        (jnp.sum, {}, "holds no numbers"),
        (lambda p: p, jnp.ones(3), r"shape \(3,\).*jnp.mean"),
        (lambda p: (jnp.sum(p), p), jnp.ones(3), "returned a tuple"),
    ],
)
def test_what_has_no_hessian_is_refused_by_name(loss, params, message):
    with pytest.raises(ValueError, match=message):
        hessian_vector_product(loss, params)


def test_outputs_that_are_no_matrix_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"shape \(3,\).*reshape"):
        ggn_vector_product(lambda p: p, jnp.ones(3))
