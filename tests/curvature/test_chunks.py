"""Operators of chunked rows against the same operators of all rows at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoteny.curvature import ggn_vector_product, hessian_vector_product
from neoteny.curvature.chunks import over_rows
from neoteny.curvature.exact import dense
from neoteny.curvature.fisher import empirical_fisher_vector_product
from neoteny.curvature.operators import block
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


def test_memory_is_that_of_a_chunk_and_not_of_all_rows():
    rows, width = 4096, 64
    params = [jnp.ones((width, width))] * 3
    batch = jnp.ones((rows, width))

    def temporary(chunk_rows):
        def loss(params, inputs):
            for kernel in params:
                inputs = jnp.tanh(inputs @ kernel)
            return jnp.mean(inputs**2)

        def product(params, batch, vector):
            make = lambda rows: hessian_vector_product(lambda p: loss(p, rows), params)
            return over_rows(make, batch, chunk_rows).matvec(vector)

        compiled = jax.jit(product).lower(params, batch, params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(256) < temporary(rows) / 4


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
