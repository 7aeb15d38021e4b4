"""Operators of chunked rows against the same operators of all rows at once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from neoteny.curvature import ggn_vector_product, hessian_vector_product
from neoteny.curvature.chunks import over_rows
from neoteny.curvature.exact import dense
from neoteny.curvature.fisher import empirical_fisher_vector_product
from neoteny.curvature.operators import Operator, block
from neoteny.types import Batch

ROUNDING = 1e-12
ROWS, INPUTS, HIDDEN, CLASSES = 23, 4, 3, 3
BATCH = Batch(
    jax.random.normal(jax.random.key(1), (ROWS, INPUTS)),
    jax.random.randint(jax.random.key(2), (ROWS,), 0, CLASSES),
)
PARAMS = {
    "in": jax.random.normal(jax.random.key(3), (INPUTS, HIDDEN)),
    "out": jax.random.normal(jax.random.key(4), (HIDDEN, CLASSES)),
}


def outputs(params, rows):
    return jnp.tanh(rows.inputs @ params["in"]) @ params["out"]


def losses(params, rows):
    log = jax.nn.log_softmax(outputs(params, rows))
    return -log[jnp.arange(len(rows.labels)), rows.labels]


MAKERS = {
    "hessian": lambda rows: hessian_vector_product(lambda p: losses(p, rows).mean(), PARAMS),
    "ggn": lambda rows: ggn_vector_product(lambda p: outputs(p, rows), PARAMS),
    "fisher": lambda rows: empirical_fisher_vector_product(lambda p: losses(p, rows), PARAMS),
    "block": lambda rows: hessian_vector_product(
        *block(lambda p: losses(p, rows).mean(), PARAMS, ("in",))
    ),
}


@pytest.mark.parametrize("chunk_rows", [1, 5, 12, 22, 23, 100])
def test_chunks_with_a_short_last_one_make_the_matrix_of_all_rows(chunk_rows):
    whole = jax.jit(lambda: dense(MAKERS["hessian"](BATCH)))()
    found = jax.jit(lambda: dense(over_rows(MAKERS["hessian"], BATCH, chunk_rows)))()
    np.testing.assert_allclose(found, whole, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", MAKERS)
def test_every_operator_that_is_a_mean_over_rows_may_be_chunked(name):
    whole = jax.jit(lambda: dense(MAKERS[name](BATCH)))()
    operator = over_rows(MAKERS[name], BATCH, 7)
    assert (operator.size, operator.dtype) == (len(whole), jnp.float64)
    np.testing.assert_allclose(jax.jit(lambda: dense(operator))(), whole, rtol=0, atol=ROUNDING)


COMPILED = jax.jit(
    lambda inputs, labels: dense(over_rows(MAKERS["ggn"], Batch(inputs, labels), 4), batch_size=21)
)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_the_order_of_rows_and_so_who_shares_a_chunk_does_not_matter(seed):
    order = np.random.default_rng(seed).permutation(ROWS)
    shuffled = COMPILED(BATCH.inputs[order], BATCH.labels[order])
    np.testing.assert_allclose(shuffled, COMPILED(*BATCH), rtol=0, atol=ROUNDING)


def test_a_vector_may_be_shaped_like_the_parameters():
    operator = over_rows(MAKERS["hessian"], BATCH, 7)
    shaped = operator.matvec(PARAMS)
    flat = operator.matvec(jax.flatten_util.ravel_pytree(PARAMS)[0])
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(shaped)[0], flat, atol=ROUNDING)


# --- memory


def temporary(product, *arguments):
    return jax.jit(product).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def perceptron(params, inputs):
    for kernel in params:
        inputs = jnp.tanh(inputs @ kernel)
    return inputs


def convolutional(params, inputs):
    for kernel in params:
        inputs = jax.nn.relu(
            lax.conv_general_dilated(
                inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )
    return inputs.reshape(len(inputs), -1)


NETWORKS = {
    "perceptron": (perceptron, [jnp.ones((64, 64))] * 3, jnp.ones((4096, 64))),
    "convolutional": (convolutional, [jnp.ones((3, 3, 8, 8))] * 2, jnp.ones((1024, 6, 6, 8))),
}
OPERATORS = {
    "hessian": lambda apply, params, rows: hessian_vector_product(
        lambda p: jnp.mean(apply(p, rows) ** 2), params
    ),
    "ggn": lambda apply, params, rows: ggn_vector_product(lambda p: apply(p, rows), params),
}


def test_memory_is_that_of_a_chunk_and_not_of_all_rows():
    apply, params, batch = NETWORKS["perceptron"]

    def product(chunk_rows, params, batch, vector):
        make = lambda rows: OPERATORS["hessian"](apply, params, rows)
        return over_rows(make, batch, chunk_rows).matvec(vector)

    some, every = (
        temporary(partial(product, chunk_rows), params, batch, params) for chunk_rows in (256, 4096)
    )
    assert some < every / 4


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_chunk_of_its_own_accord_takes_the_memory_it_is_given_and_little_more(network, operator):
    apply, params, batch = NETWORKS[network]

    def product(memory, params, batch, vector):
        make = lambda rows: OPERATORS[operator](apply, params, rows)
        return over_rows(make, batch, memory=memory).matvec(vector)

    copies = 4 * sum(kernel.nbytes for kernel in params)
    for memory in (2**20, 2**22):
        taken = temporary(partial(product, memory), params, batch, params)
        assert memory / 3 < taken < 1.25 * memory + copies
    assert temporary(partial(product, 2**40), params, batch, params) > 2.5 * memory


@pytest.mark.parametrize(
    ("memory", "sizes"),
    [(40 * 8, {5, 3}), (40 * 8 - 1, {4, 3}), (40 * 23 - 1, {11, 1}), (40 * 23, {23}), (1, {1})],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_the_rows_of_a_chunk_and_of_a_short_last_one_just_fit_together(memory, sizes, compiled):
    seen = []

    def make(rows):  # keeps four float64 of each row, and its steps make one more of it
        seen.append(len(rows))
        product = lambda v: (rows @ v) @ rows / len(rows)
        return Operator(jax.jit(product) if compiled else product, INPUTS, jnp.float64)

    operator = over_rows(make, BATCH.inputs, memory=memory)
    del seen[:2]  # the two that were traced for their memory
    exact = BATCH.inputs.T @ BATCH.inputs / ROWS
    np.testing.assert_allclose(dense(operator), exact, rtol=0, atol=ROUNDING)
    assert set(seen) == sizes


@pytest.mark.parametrize("name", MAKERS)
def test_chunks_of_their_own_accord_make_the_matrix_of_all_rows(name):
    whole = jax.jit(lambda: dense(MAKERS[name](BATCH)))()
    found = jax.jit(lambda: dense(over_rows(MAKERS[name], BATCH, memory=1000)))()
    np.testing.assert_allclose(found, whole, rtol=0, atol=ROUNDING)
    roomy = jax.jit(lambda: dense(over_rows(MAKERS[name], BATCH)))()
    np.testing.assert_array_equal(roomy, whole)
    alone = jax.tree.map(lambda array: array[:1], BATCH)
    np.testing.assert_array_equal(
        dense(over_rows(MAKERS[name], alone, memory=1)), dense(MAKERS[name](alone))
    )


def test_memory_of_no_bytes_is_refused():
    with pytest.raises(ValueError, match=r"`memory` is 0.*memory=2\*\*30"):
        over_rows(MAKERS["hessian"], BATCH, memory=0)


@pytest.mark.parametrize(
    ("batch", "chunk_rows", "message"),
    [
        (BATCH, 0, r"`chunk_rows` is 0.*from 1 to all 23 rows.*chunk_rows=23"),
        (Batch(BATCH.inputs, BATCH.labels[:5]), 4, r"shapes \(23, 4\), \(5,\)"),
        ((BATCH.inputs, jnp.ones(())), 4, r"shapes \(23, 4\), \(\)"),
        ((), 4, "shapes none"),
        (jnp.ones((0, 3)), 4, "at least 1"),
    ],
)
def test_rows_that_cannot_be_cut_are_refused_with_a_remedy(batch, chunk_rows, message):
    with pytest.raises(ValueError, match=message):
        over_rows(MAKERS["hessian"], batch, chunk_rows)
