"""Every operator and exact route against dense matrices, over kinds of networks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from neoteny import curvature
from neoteny.curvature import ggn_vector_product, hessian_vector_product
from neoteny.curvature.chunks import over_rows
from neoteny.curvature.exact import (
    dense,
    eigenvalue_spectrum,
    exact_spectrum,
    ggn_spectrum,
    gram_spectrum,
    matrix_spectrum,
)
from neoteny.curvature.fisher import empirical_fisher_vector_product
from neoteny.curvature.gram import gram_matrix
from neoteny.curvature.operators import Operator, block, layers

ROUNDING = 1e-10  # matrices of norm one to ten, from some thousand float64 terms
ROWS, CLASSES = 5, 3
LABELS = jnp.arange(ROWS) % CLASSES


def drawn(**shapes):
    draw = lambda index, shape: jax.random.normal(jax.random.key(index), shape) / shape[0] ** 0.5
    return {name: draw(index, shape) for index, (name, shape) in enumerate(shapes.items())}


def mlp(p, x):
    return jnp.tanh(jnp.tanh(x @ p["1"] + p["b"][None]) @ p["2"]) @ p["3"]


def convolutional(p, x):
    kinds = ("NHWC", "HWIO", "NHWC")
    hidden = jax.lax.conv_general_dilated(x, p["1"], (1, 1), "SAME", dimension_numbers=kinds)
    hidden = jax.lax.conv_general_dilated(
        jnp.tanh(hidden), p["2"], (2, 2), "VALID", dimension_numbers=kinds
    )
    return jnp.tanh(hidden).reshape(len(x), -1) @ p["3"]


def residual(p, x):
    hidden = jnp.tanh(x @ p["1"])
    hidden = hidden + jax.nn.softplus(hidden @ p["2"]) @ p["3"]
    return hidden @ p["4"]


def attention(p, x):
    queries, keys, values = (x @ p[name] for name in "qkv")
    scores = jnp.einsum("rik,rjk->rij", queries, keys) / 2
    mixed = x + jnp.einsum("rij,rjk->rik", jax.nn.softmax(scores), values)
    return mixed.mean(axis=1) @ p["out"]


class Case(NamedTuple):
    apply: Any
    params: Any
    inputs: Any

    def outputs(self, params, rows=None):
        return self.apply(params, self.inputs if rows is None else rows[0])

    def losses(self, params, rows=None):
        labels = LABELS if rows is None else rows[1]
        log = jax.nn.log_softmax(self.outputs(params, rows))
        return -jnp.take_along_axis(log, labels[:, None], axis=1)[:, 0]

    def loss(self, params, rows=None):
        return jnp.mean(self.losses(params, rows))


def rows_of(*shape):
    return jax.random.normal(jax.random.key(9), (ROWS, *shape))


CASES = {
    "mlp": Case(mlp, drawn(**{"1": (3, 4), "b": (4,), "2": (4, 4), "3": (4, 3)}), rows_of(3)),
    "convolutional": Case(
        convolutional,
        drawn(**{"1": (2, 2, 1, 2), "2": (3, 3, 2, 2), "3": (8, 3)}),
        rows_of(5, 5, 1),
    ),
    "residual": Case(
        residual, drawn(**{"1": (3, 4), "2": (4, 3), "3": (3, 4), "4": (4, 3)}), rows_of(3)
    ),
    "attention": Case(
        attention, drawn(q=(4, 2), k=(4, 2), v=(4, 4), out=(4, 3)), rows_of(3, 4)
    ),
}  # fmt: skip


class Matrices(NamedTuple):
    """By definition, from `jax.hessian` and `jax.jacobian`."""

    hessian: np.ndarray
    ggn: np.ndarray
    fisher: np.ndarray


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def exact(case):
    flat, unravel = ravel_pytree(case.params)

    @jax.jit
    def matrices(flat):
        logits = case.outputs(unravel(flat))
        jacobian = jax.jacobian(lambda vector: case.outputs(unravel(vector)))(flat)
        inner = jax.vmap(jax.hessian(jax.scipy.special.logsumexp))(logits)
        gradients = jax.jacobian(lambda vector: case.losses(unravel(vector)))(flat)
        return (
            jax.hessian(lambda vector: case.loss(unravel(vector)))(flat),
            jnp.einsum("rcp,rcd,rdq->pq", jacobian, inner, jacobian) / ROWS,
            gradients.T @ gradients / ROWS,
        )

    return Matrices(*map(np.asarray, matrices(flat)))


def close(found, exact):
    np.testing.assert_allclose(found, exact, rtol=0, atol=ROUNDING)


def written(build, *arguments):
    return jax.jit(lambda arguments: dense(build(*arguments)))(arguments)


# --- over networks


def test_every_operator_is_its_dense_matrix(case, exact):
    close(written(lambda p: hessian_vector_product(case.loss, p), case.params), exact.hessian)
    close(written(lambda p: ggn_vector_product(case.outputs, p), case.params), exact.ggn)
    fisher = lambda p: empirical_fisher_vector_product(case.losses, p)
    close(written(fisher, case.params), exact.fisher)


def test_rows_may_be_chunked(case, exact):
    def build(params, rows):
        make = lambda part: hessian_vector_product(lambda p: case.loss(p, part), params)
        return over_rows(make, rows, 2)

    close(written(build, case.params, (case.inputs, LABELS)), exact.hessian)


def test_the_blocks_of_layers_are_slices_of_the_whole(case, exact):
    flat, unravel = ravel_pytree(case.params)
    places = unravel(jnp.arange(flat.size, dtype=float))
    assert sum(block(id, case.params, path)[1].size for path in layers(case.params)) == flat.size
    paths = [*layers(case.params), list(layers(case.params)[1:])]

    @jax.jit
    def blocks(params):
        parts = [block(case.loss, params, path) for path in paths]
        return [dense(hessian_vector_product(*part)) for part in parts]

    for path, found in zip(paths, blocks(case.params), strict=True):
        chosen = np.asarray(ravel_pytree(block(id, places, path)[1])[0], int)
        close(found, exact.hessian[np.ix_(chosen, chosen)])


def test_the_gram_matrix_has_the_gauss_newton_eigenvalues_with_their_multiplicity(case, exact):
    values = np.linalg.eigvalsh(exact.ggn)
    gram = jax.jit(lambda p: gram_matrix(case.outputs, p))(case.params)
    inner = np.linalg.eigvalsh(np.asarray(gram.high))
    most = min(len(values), len(inner))
    close(inner[-most:], values[-most:])
    close(inner[:-most], 0)
    assert np.count_nonzero(inner > 1e-9) <= ROWS * (CLASSES - 1)


@pytest.mark.parametrize("route", ["dense", "gram", "lanczos"])
def test_all_routes_to_the_gauss_newton_spectrum_agree(case, exact, key, route):
    size = len(exact.ggn)
    found = ggn_spectrum(case.outputs, case.params, key, route=route, num_steps=size, num_probes=1)
    assert (found.route, found.exact) == (route, route != "lanczos")
    values = np.linalg.eigvalsh(exact.ggn)
    summary = curvature.extreme_eigenvalues(found.spectrum)
    close([summary.smallest, summary.largest], values[[0, -1]])
    if found.exact:
        nodes, weights = found.spectrum.nodes[0], found.spectrum.weights[0]
        close(np.repeat(nodes, np.rint(size * weights).astype(int)), np.maximum(values, 0))
        close(weights.sum(), 1)
        assert curvature.trace(found.spectrum, size).value == pytest.approx(np.trace(exact.ggn))
        rank = curvature.epsilon_rank(found.spectrum, size, 0.0).value
        assert rank == pytest.approx(np.linalg.matrix_rank(exact.ggn, hermitian=True))


def test_the_exact_hessian_spectrum_has_every_eigenvalue_once(case, exact):
    matrix = written(lambda p: hessian_vector_product(case.loss, p), case.params)
    spectrum, values = matrix_spectrum(matrix), np.linalg.eigvalsh(exact.hessian)
    close(spectrum.nodes[0], values)
    close(spectrum.weights[0], np.full(len(values), 1 / len(values)))
    share = curvature.negative_share(spectrum, 1e-9).value
    assert share == pytest.approx(np.mean(values < -1e-9))


def test_float32_errs_by_its_rounding_relative_to_the_largest_eigenvalue(case, exact):
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), case[1:])
    matrix = written(lambda p: hessian_vector_product(Case(case.apply, *halved).loss, p), halved[0])
    values, found = np.linalg.eigvalsh(exact.hessian), matrix_spectrum(matrix).nodes[0]
    np.testing.assert_allclose(found, values, rtol=0, atol=3e-6 * np.max(np.abs(values)))
    assert matrix.dtype == np.float32 and found.dtype == np.float64


# --- what must not change a spectrum


@jax.jit
def spectra(params, inputs, labels, scale):
    """Hessian, Gauss-Newton and Gram matrices of a small network and a scaled loss."""
    loss = lambda z: -scale * jnp.mean(jnp.sum(jax.nn.log_softmax(z) * labels, axis=1))
    outputs = lambda p: mlp(p, inputs)
    return (
        dense(hessian_vector_product(lambda p: loss(outputs(p)), params)),
        dense(ggn_vector_product(outputs, params, output_loss=loss)),
        gram_matrix(outputs, params, output_loss=loss).high,
    )


def eigenvalues_of(params, inputs, scale=1.0, labels=LABELS):
    matrices = spectra(params, inputs, jax.nn.one_hot(labels, CLASSES), scale)
    return [np.linalg.eigvalsh(np.asarray(matrix)) for matrix in matrices]


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_row_order_and_unit_order_change_no_eigenvalue_and_the_loss_scale_only_multiplies(
    seed, scale
):
    rng = np.random.default_rng(seed)
    case = CASES["mlp"]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), case.params)
    before = eigenvalues_of(params, case.inputs)
    rows, units = rng.permutation(ROWS), rng.permutation(4)
    swapped = params | {
        "1": params["1"][:, units],
        "b": params["b"][units],
        "2": params["2"][units],
    }
    after = eigenvalues_of(swapped, case.inputs[rows], scale, LABELS[rows])
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new / scale, old, rtol=0, atol=ROUNDING * (1 + old[-1]))


# --- other people's modules


def test_an_equinox_module_is_measured_as_it_is(key):
    import equinox

    params, static = equinox.partition(
        equinox.nn.MLP(3, CLASSES, 4, 1, key=key), equinox.is_inexact_array
    )
    apply = lambda params, x: jax.vmap(equinox.combine(params, static))(x)
    assert layers(params) == (("layers", 0), ("layers", 1))
    _agrees_with_plain_arrays(Case(apply, params, rows_of(3)))


def test_a_flax_module_is_measured_as_it_is(key):
    from flax import linen

    model = linen.Sequential([linen.Dense(4), jnp.tanh, linen.Dense(CLASSES)])
    params = model.init(key, jnp.ones((1, 3)))
    params = jax.tree.map(lambda leaf: leaf.astype(float), params)
    assert layers(params) == (("params", "layers_0"), ("params", "layers_2"))
    _agrees_with_plain_arrays(Case(model.apply, params, rows_of(3)))


def _agrees_with_plain_arrays(case):
    flat, unravel = ravel_pytree(case.params)
    exact = jax.jit(jax.hessian(lambda vector: case.loss(unravel(vector))))(flat)
    close(written(lambda p: hessian_vector_product(case.loss, p), case.params), exact)
    whole = [dense(hessian_vector_product(*block(case.loss, case.params, path)))
             for path in layers(case.params)]  # fmt: skip
    close(sum(map(jnp.trace, whole)), jnp.trace(exact))


# --- the pieces


@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
def test_a_matrix_is_written_out_whatever_the_batches(batch_size):
    matrix = jnp.arange(49.0).reshape(7, 7)
    matrix = matrix + matrix.T
    found = dense(Operator(lambda v: matrix @ v, 7, jnp.float64), batch_size=batch_size)
    np.testing.assert_array_equal(found, matrix)


def test_the_exact_spectrum_of_an_operator_is_that_of_its_matrix():
    case = CASES["mlp"]
    operator = ggn_vector_product(case.outputs, case.params)
    written_out = matrix_spectrum(
        written(lambda p: ggn_vector_product(case.outputs, p), case.params)
    )
    close(exact_spectrum(operator).nodes, written_out.nodes)


def test_a_zero_matrix_has_one_node_at_zero_and_a_broken_one_is_nan():
    spectrum = matrix_spectrum(np.zeros((4, 4)))
    assert (spectrum.nodes, spectrum.weights) == ([[0]], [[1]])
    broken = matrix_spectrum(np.full((4, 4), np.nan))
    assert np.isnan(broken.nodes).all() and np.isnan(broken.weights).all()


def test_zeros_and_what_is_not_listed_share_a_node():
    spectrum = eigenvalue_spectrum(np.array([-2.0, 1e-9, 0.0, 4.0]), 10, rounding=1e-6)
    np.testing.assert_array_equal(spectrum.nodes, [[-2, 0, 4]])
    np.testing.assert_allclose(spectrum.weights, [[0.1, 0.8, 0.1]])
    full = eigenvalue_spectrum(np.array([1.0, 2.0]), 2)
    np.testing.assert_array_equal(full.nodes, [[1, 2]])


def test_a_gram_matrix_larger_than_the_parameters_gives_no_more_eigenvalues_than_they_have():
    half = np.random.default_rng(0).normal(size=(8, 3))
    spectrum = gram_spectrum(half @ half.T, 3)
    close(spectrum.nodes[0], np.linalg.eigvalsh(half.T @ half))


def test_the_automatic_route_is_the_cheapest_that_is_exact(key):
    def route(rows, size):
        inputs = jnp.ones((rows, size))
        return ggn_spectrum(
            lambda p: inputs @ p, jnp.zeros((size, 1)), key, num_steps=1, num_probes=1
        )

    few_parameters, few_rows = route(9, 5), route(5, 9)
    assert (few_parameters.route, few_rows.route) == ("dense", "gram")
    assert few_parameters.exact and few_rows.exact
    many = route(4097, 4097)
    assert many.route == "lanczos" and not many.exact


def test_what_cannot_be_exact_is_refused_with_what_can(key, case):
    large = Operator(lambda v: v, 8193, jnp.float32)
    with pytest.raises(ValueError, match=r"8193 x 8193.*8192 x 8192.*operator_coefficients"):
        exact_spectrum(large)
    with pytest.raises(ValueError, match=r"inside `jit`.*gram_matrix"):
        jax.jit(lambda p: exact_spectrum(hessian_vector_product(case.loss, p)))(case.params)
    with pytest.raises(ValueError, match=r"inside `jit`.*gram_matrix"):
        jax.jit(lambda p: ggn_spectrum(case.outputs, p, key))(case.params)
    with pytest.raises(ValueError, match=r"no route `grams`. Did you mean `gram`"):
        ggn_spectrum(case.outputs, case.params, key, route="grams")
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        dense(large._replace(size=3), batch_size=0)
    with pytest.raises(ValueError, match=r"3 eigenvalues.*`size=2`"):
        eigenvalue_spectrum(np.ones(3), 2)
