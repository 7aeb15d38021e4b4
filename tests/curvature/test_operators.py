"""Products with the Hessian and the Gauss-Newton matrix, against the dense matrices."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.curvature import ggn_vector_product, hessian_vector_product
from neoteny.curvature.operators import block, layers

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
    return jax.jit(jax.vmap(operator.matvec))(jnp.eye(operator.size, dtype=operator.dtype))


def test_the_hessian_product_is_the_dense_hessian(params, batch):
    loss = lambda p: cross_entropy(logits(p, batch[0]), batch[1])
    flat, unravel = ravel_pytree(params)
    exact = jax.jit(jax.hessian(lambda vector: loss(unravel(vector))))(flat)
    np.testing.assert_allclose(
        dense(hessian_vector_product(loss, params)), exact, rtol=0, atol=ROUNDING
    )


def test_the_gauss_newton_product_is_the_dense_sandwich(params, batch):
    flat, unravel = ravel_pytree(params)
    outputs = lambda vector: logits(unravel(vector), batch[0])
    jacobian = jax.jit(jax.jacobian(outputs))(flat)
    curvature = jax.jit(jax.vmap(jax.hessian(jax.scipy.special.logsumexp)))(outputs(flat))
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


@pytest.mark.parametrize(
    "penalty", [jnp.square, lambda x: jnp.log(jnp.cosh(x)), lambda x: jnp.sin(2 * x)]
)
def test_any_loss_of_outputs_of_any_shape_may_be_curved(params, batch, penalty):
    flat, unravel = ravel_pytree(params)
    outputs = lambda p: logits(p, batch[0]).reshape(ROWS, CLASSES, 1)
    output_loss = lambda z: jnp.mean(penalty(z - 0.3)) + jnp.sum(z) ** 2 / 50  # rows coupled

    @jax.jit
    def exact(flat):
        primal = outputs(unravel(flat))
        curvature = jax.hessian(lambda z: output_loss(z.reshape(primal.shape)))(primal.ravel())
        jacobian = jax.jacobian(lambda vector: outputs(unravel(vector)).ravel())(flat)
        return jacobian.T @ curvature @ jacobian

    operator = ggn_vector_product(outputs, params, output_loss=output_loss)
    np.testing.assert_allclose(dense(operator), exact(flat), rtol=0, atol=ROUNDING)


def test_the_default_output_loss_is_mean_softmax_cross_entropy(params, batch):
    outputs = lambda p: logits(p, batch[0])
    output_loss = lambda z: cross_entropy(z, batch[1])
    named = dense(ggn_vector_product(outputs, params, output_loss=output_loss))
    default = dense(ggn_vector_product(outputs, params))
    np.testing.assert_allclose(named, default, rtol=0, atol=ROUNDING)


def test_the_hessian_of_a_linear_network_with_squared_loss_is_its_gauss_newton_matrix(batch):
    targets = jax.nn.one_hot(batch[1], CLASSES)
    squared = lambda z: jnp.mean(jnp.sum((z - targets) ** 2, axis=1))
    params = {"kernel": jnp.ones((INPUTS, CLASSES)), "bias": jnp.ones(CLASSES)}
    outputs = lambda p: batch[0] @ p["kernel"] + p["bias"][None]
    ggn = dense(ggn_vector_product(outputs, params, output_loss=squared))
    hessian = dense(hessian_vector_product(lambda p: squared(outputs(p)), params))
    np.testing.assert_allclose(ggn, hessian, rtol=0, atol=ROUNDING)
    # Both are the inputs' second moments, once for each class.
    rows = np.c_[np.ones(ROWS), batch[0]]  # in the order of the dict: bias, kernel
    exact = np.kron(2 * rows.T @ rows / ROWS, np.eye(CLASSES))
    np.testing.assert_allclose(hessian, exact, rtol=0, atol=ROUNDING)


def test_nearly_certain_rows_keep_their_relative_accuracy_in_float32(key):
    certain = 18 * jax.nn.one_hot(jnp.arange(ROWS) % CLASSES, CLASSES)
    values = certain + jax.random.normal(key, (ROWS, CLASSES))
    curved = lambda values: dense(ggn_vector_product(lambda z: z, values))
    exact, found = curved(values), curved(values.astype(jnp.float32))
    error = jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)
    assert jnp.linalg.norm(exact) < 1e-7
    assert error < 1e-5  # of logits near 18, whose own rounding is 1e-6; `1 - p` errs by 1


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


@pytest.mark.parametrize(
    ("output_loss", "message"),
    [(lambda z: z, r"output_loss` returned an array of shape \(2, 3\).*lambda outputs: jnp.mean")],
)
def test_an_output_loss_that_is_no_number_is_refused_with_a_remedy(output_loss, message):
    with pytest.raises(ValueError, match=message):
        ggn_vector_product(lambda p: p, jnp.ones((2, 3)), output_loss=output_loss)


def test_outputs_beside_other_results_are_refused():
    with pytest.raises(ValueError, match=r"returned a tuple.*outputs alone"):
        ggn_vector_product(lambda p: (p, p), jnp.ones((2, 3)), output_loss=jnp.sum)


# --- blocks


PATHS = [
    "readout",
    ("hidden",),
    ("hidden", 1),
    ("hidden", 0),
    (),
    [("readout",), ("hidden", 1)],
    ["hidden"],
]


@pytest.mark.parametrize("paths", PATHS, ids=str)
@pytest.mark.parametrize("build", ["hessian", "ggn"])
def test_an_operator_of_a_block_is_that_part_of_the_whole_matrix(params, batch, build, paths):
    outputs = lambda p: logits(p, batch[0])
    loss = lambda p: cross_entropy(outputs(p), batch[1])
    make, function = {
        "hessian": (hessian_vector_product, loss),
        "ggn": (ggn_vector_product, outputs),
    }[build]
    flat, unravel = ravel_pytree(params)
    places = ravel_pytree(block(loss, unravel(jnp.arange(flat.size) + 0.0), paths)[1])[0]
    places = np.asarray(places, int)
    whole = dense(make(function, params))
    part = dense(make(*block(function, params, paths)))
    np.testing.assert_allclose(part, whole[np.ix_(places, places)], rtol=0, atol=ROUNDING)


def test_a_block_is_the_sub_tree_or_a_tuple_of_them_and_leaves_the_function_as_it_was(params):
    total = lambda p: sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(p))
    restricted, part = block(total, params, ("hidden", 0))
    np.testing.assert_array_equal(part, params["hidden"][0])
    assert restricted(part) == total(params)
    restricted, parts = block(total, params, ["readout", "hidden"])
    assert jax.tree.structure(parts) == jax.tree.structure((params["readout"], params["hidden"]))
    assert restricted(parts) == total(params)


class Layer(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


LAYER = Layer(jnp.ones((2, 2)), jnp.ones(2))


@pytest.mark.parametrize(
    ("params", "names"),
    [
        (({"w": jnp.ones(2)}, {"w": jnp.ones(2)}), ((0,), (1,))),
        ({"in": jnp.ones(2), "out": jnp.ones(2)}, (("in",), ("out",))),
        ({"params": {"a": LAYER, "b": LAYER}}, (("params", "a"), ("params", "b"))),
        ({"params": {"a": LAYER}}, (("params", "a"),)),
        ([LAYER, None, {}, LAYER], ((0,), (3,))),
        (LAYER, (("kernel",), ("bias",))),
        (jnp.ones(2), ((),)),
    ],
)
def test_the_layers_are_the_top_level_blocks_below_lone_wrappers(params, names):
    assert layers(params) == names
    found = [leaf for path in names for leaf in jax.tree.leaves(block(id, params, path)[1])]
    assert list(map(id, found)) == list(map(id, jax.tree.leaves(params)))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("hidden", 2), r"no 2 at `\('hidden',\)`, which holds 0, 1. Pass `\('hidden', 0\)`"),
        ("output", r"no 'output' at `\(\)`, which holds 'hidden', 'readout'"),
        (("readout", 0), r"at `\('readout',\)`, which is an array. Pass `\('readout',\)`"),
        (["hidden", ("hidden", 0)], r"has \('hidden', 0\), which is within \('hidden',\)"),
        (["readout", "readout"], r"within \('readout',\)"),
    ],
)
def test_a_path_that_leads_nowhere_or_twice_to_the_same_array_is_refused(params, paths, message):
    with pytest.raises(ValueError, match=message):
        block(jnp.sum, params, paths)
