"""Gram matrices against explicit Jacobians, and in float32 against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.curvature.exact import gram_spectrum
from neoteny.curvature.gram import gram_matrix, loss_weighted_gram, ntk, softmax_root

ROUNDING = 1e-12
ROWS, INPUTS, HIDDEN, CLASSES = 6, 4, 5, 3
SIZE = INPUTS * HIDDEN + HIDDEN + HIDDEN * CLASSES
X = jax.random.normal(jax.random.key(1), (ROWS, INPUTS))
TARGETS = jax.nn.one_hot(jnp.arange(ROWS) % CLASSES, CLASSES)


@pytest.fixture(scope="module")
def params():
    draw = lambda index, *shape: jax.random.normal(jax.random.key(index), shape)
    return {"in": draw(2, INPUTS, HIDDEN), "bias": draw(3, HIDDEN), "out": draw(4, HIDDEN, CLASSES)}


def logits(params, inputs=X):
    return jnp.tanh(inputs @ params["in"] + params["bias"][None]) @ params["out"]


@pytest.fixture(scope="module")
def jacobian(params):
    flat, unravel = ravel_pytree(params)
    return np.asarray(jax.jit(jax.jacobian(lambda vector: logits(unravel(vector)).ravel()))(flat))


def block_diagonal(blocks):
    whole = np.zeros((ROWS, CLASSES, ROWS, CLASSES))
    whole[np.arange(ROWS), :, np.arange(ROWS)] = blocks
    return whole.reshape(ROWS * CLASSES, -1)


def test_the_root_of_the_softmax_curvature_gives_it_back_with_the_class_second():
    values = 3 * jax.random.normal(jax.random.key(0), (ROWS, CLASSES))
    roots, p = softmax_root(values), jax.nn.softmax(values)
    exact = jax.jit(jax.vmap(jax.hessian(jax.scipy.special.logsumexp)))(values)
    np.testing.assert_allclose(roots @ roots.swapaxes(1, 2), exact, rtol=0, atol=1e-15)
    projection = np.eye(CLASSES) - np.sqrt(p[:, :, None] * p[:, None, :])
    np.testing.assert_allclose(roots, jnp.sqrt(p)[:, :, None] * projection, rtol=0, atol=1e-15)


def test_the_root_is_accurate_in_every_entry_where_a_class_is_all_but_certain():
    values = np.array([[30.0, 0.0, -5.0], [0.0, 0.0, -60.0], [-9.0, 9.0, 20.0]])
    exact, found = (softmax_root(jnp.asarray(values, kind)) for kind in ("float64", "float32"))
    np.testing.assert_allclose(found, exact, rtol=1e-5)  # of logits to 60: 60 roundings of 6e-8


@pytest.mark.parametrize("held", [2**25, 200, 70, 20, 1], ids=lambda held: f"held_{held}")
def test_the_kernel_is_that_of_the_jacobian_however_little_is_held_at_a_time(
    params, jacobian, held
):
    kernel = jax.jit(lambda p: ntk(logits, p, held=held))(params)
    np.testing.assert_allclose(kernel, jacobian @ jacobian.T, rtol=0, atol=1e-11)


def test_output_c_of_row_i_has_place_i_times_classes_plus_c(params):
    kernel = ntk(logits, params)
    places = (2, 1), (4, 2)
    first, second = (
        ravel_pytree(jax.grad(lambda p, place=place: logits(p)[place])(params))[0]
        for place in places
    )
    found = kernel[tuple(row * CLASSES + column for row, column in places)]
    assert found == pytest.approx(float(first @ second), abs=ROUNDING)


def test_the_kernel_takes_outputs_of_any_shape(params):
    vector = jax.jit(lambda p: ntk(lambda p: logits(p).ravel(), p))(params)
    cube = jax.jit(lambda p: ntk(lambda p: logits(p).reshape(2, -1, CLASSES), p))(params)
    np.testing.assert_allclose(vector, cube, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("held", [2**25, 40], ids=["one_band", "bands"])
def test_the_weighted_matrix_is_sandwiched_between_roots_of_the_output_curvature(
    params, jacobian, held
):
    roots = block_diagonal(softmax_root(logits(params)))
    exact = roots.T @ jacobian @ jacobian.T @ roots / ROWS
    found = jax.jit(lambda p: loss_weighted_gram(logits, p, held=held))(params)
    np.testing.assert_allclose(found, exact, rtol=0, atol=ROUNDING)


def test_a_loss_of_ones_own_is_weighted_by_the_symmetric_root_of_each_rows_hessian(
    params, jacobian
):
    row_loss = lambda z, y: jnp.log(jnp.cosh(z[0] - z[1])) + jnp.sum((z - y) ** 4)
    blocks = jax.vmap(jax.hessian(row_loss))(logits(params), TARGETS) / ROWS
    values, vectors = np.linalg.eigh(block_diagonal(blocks))
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    loss = lambda z: jnp.mean(jax.vmap(row_loss)(z, TARGETS))
    found = jax.jit(lambda p: loss_weighted_gram(logits, p, output_loss=loss))(params)
    np.testing.assert_allclose(found, root @ jacobian @ jacobian.T @ root, rtol=0, atol=1e-10)


def test_squared_error_only_scales_the_kernel(params):
    loss = lambda z: jnp.mean(jnp.sum((z - TARGETS) ** 2, axis=1))
    found = jax.jit(lambda p: loss_weighted_gram(logits, p, output_loss=loss))(params)
    np.testing.assert_allclose(found, 2 * ntk(logits, params) / ROWS, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    "loss", [lambda z: -jnp.mean(z**2), lambda z: jnp.mean(z) ** 2], ids=["concave", "coupled"]
)
def test_a_loss_that_no_root_exists_for_gives_nan_and_not_another_matrix(params, loss):
    gram = jax.jit(lambda p: gram_matrix(logits, p, output_loss=loss))(params)
    assert jnp.isnan(gram.high).all()
    assert np.isnan(gram_spectrum(gram, SIZE).nodes).all()


def test_one_compilation_serves_all_tasks(params):
    traces = []

    @jax.jit
    def measure(params, inputs):
        traces.append(1)
        return gram_matrix(lambda p: logits(p, inputs), params)

    first, second = (measure(params, inputs) for inputs in (X, X[::-1]))
    assert len(traces) == 1
    reverse = np.arange(ROWS * CLASSES).reshape(ROWS, CLASSES)[::-1].ravel()
    np.testing.assert_allclose(second.high, first.high[reverse][:, reverse], atol=ROUNDING)


def graded(kind):
    """A classifier sure of some rows and unsure of others: eigenvalues over many decades."""
    draw = lambda index, *shape: np.random.default_rng(index).normal(size=shape)
    inputs = draw(0, 30, 8) * np.geomspace(0.03, 6, 30)[:, None]
    params = {"in": draw(1, 8, 16), "mid": draw(2, 16, 16) / 3, "out": 4 * draw(3, 16, 4)}
    inputs, params = jax.tree.map(lambda array: jnp.asarray(array, kind), (inputs, params))
    return params, lambda p: jnp.tanh(jnp.tanh(inputs @ p["in"]) @ p["mid"]) @ p["out"]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("held", [2**25, 3000], ids=["one_band", "bands"])
def test_float32_parameters_give_eigenvalues_far_below_the_rounding_of_float32(x64, held):
    params, outputs = graded("float64")
    size = sum(leaf.size for leaf in params.values())
    exact = gram_spectrum(jax.jit(lambda p: gram_matrix(outputs, p))(params), size).nodes[0]
    with jax.enable_x64(x64):
        params, outputs = graded("float32")
        gram = jax.jit(lambda p: gram_matrix(outputs, p, held=held))(params)
    assert gram.high.dtype == gram.low.dtype == jnp.float32
    resolved = exact[exact > 1e-11 * exact[-1]]
    assert np.sum(resolved < 1e-8 * exact[-1]) > 5  # there is something to resolve
    found = gram_spectrum(gram, size).nodes[0][-len(resolved) :]
    np.testing.assert_allclose(found, resolved, rtol=1e-4)  # errs by 4e-6


def test_the_upper_part_alone_resolves_no_more_than_float32():
    params, outputs = graded("float32")
    size = sum(leaf.size for leaf in params.values())
    gram = jax.jit(lambda p: gram_matrix(outputs, p))(params)
    fine, coarse = gram_spectrum(gram, size).nodes[0], gram_spectrum(gram.high, size).nodes[0]
    np.testing.assert_allclose(coarse[-10:], fine[-10:], rtol=1e-4)
    assert fine[fine > 0][0] < 1e-9 * fine[-1] and coarse[0] < -1e-9 * fine[-1]


def test_seeds_may_be_batched_with_float64_off():
    with jax.enable_x64(False):
        params, outputs = graded("float32")
        both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), params)
        measure = lambda p: gram_matrix(outputs, p, held=6000)
        batched = jax.jit(jax.vmap(measure))(both)
        alone = jax.jit(measure)(params)
        scale = jnp.max(alone.high)
        np.testing.assert_allclose(batched.high[0] / scale, alone.high / scale, atol=1e-6)
        assert jnp.max(jnp.abs(batched.low[0])) > 0


def test_what_has_no_gram_matrix_is_refused(params):
    with pytest.raises(ValueError, match="two axes"):
        gram_matrix(lambda p: logits(p)[0], params)
    with pytest.raises(ValueError, match=r"params\[0\]` is bfloat16"):
        ntk(lambda p: p[0], [jnp.ones(3, jnp.bfloat16)])
