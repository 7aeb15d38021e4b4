"""Kronecker factors against loops, and what is read off them against the dense product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from neoteny.curvature import ggn_vector_product
from neoteny.curvature.factors import dense_factors, layer_factors
from neoteny.curvature.kronecker import (
    FactorEigenvalues,
    KroneckerFactors,
    convolution_activations,
    factor_eigenvalues,
    kronecker_effective_rank,
    kronecker_epsilon_rank,
    kronecker_factors,
    kronecker_rank,
)
from neoteny.networks import mlp
from neoteny.types import Batch

EXACT = 1e-10


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


# --- the factors


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("columns", [None, 3])
def test_dense_factors_are_means_over_rows_and_sums_over_columns(bias, columns):
    activations = random(5, 4)
    signals = random(5, 2) if columns is None else random(5, columns, 2)
    a, g = np.zeros((4 + bias,) * 2), np.zeros((2, 2))
    for row in range(5):
        x = np.append(activations[row], [1.0] * bias)
        a += np.outer(x, x) / 5
        for s in np.reshape(signals[row], (-1, 2)):
            g += np.outer(s, s) / 5
    factors = kronecker_factors(activations, signals, bias=bias)
    np.testing.assert_allclose(factors.activations, a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(factors.signals, g, rtol=0, atol=1e-12)


@pytest.mark.parametrize("columns", [None, 3])
def test_convolutional_factors_sum_inputs_and_average_signals_over_positions(columns):
    activations = random(5, 7, 4)
    signals = random(5, 7, 2) if columns is None else random(5, columns, 7, 2)
    a, g = np.zeros((5, 5)), np.zeros((2, 2))
    for row in range(5):
        for position in range(7):
            x = np.append(activations[row, position], 1.0)
            a += np.outer(x, x) / 5
            for s in np.reshape(signals[row][..., position, :], (-1, 2)):
                g += np.outer(s, s) / 35
    factors = kronecker_factors(activations, signals)
    np.testing.assert_allclose(factors.activations, a, rtol=0, atol=1e-12)
    np.testing.assert_allclose(factors.signals, g, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (2, 1))])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_patches_times_kernel_are_the_convolution_and_its_gradient(padding, strides):
    images, kernel = random(2, 6, 5, 3), random(3, 2, 3, 4, seed=1)

    def convolve(kernel):
        return lax.conv_general_dilated(
            images, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    patches = convolution_activations(images, kernel.shape, strides=strides, padding=padding)
    result, pull = jax.vjp(convolve, kernel)
    by_patches = patches @ kernel.reshape(-1, 4)
    np.testing.assert_allclose(by_patches.reshape(result.shape), result, rtol=0, atol=1e-12)
    signals = random(*result.shape, seed=2)
    gradient = jnp.einsum("npi,npo->io", patches, signals.reshape(2, -1, 4))
    np.testing.assert_allclose(gradient.reshape(kernel.shape), pull(signals)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("activations", "signals"),
    [((5, 4), (6, 2)), ((5, 7, 4), (5, 6, 2)), ((5, 4), (5,)), ((5,), (5, 2)), ((5, 7, 4), (5, 2))],
)
def test_shapes_that_do_not_match_are_refused_with_those_that_do(activations, signals):
    with pytest.raises(ValueError, match=r"`activations` has shape .*`signals`.*\(rows, outputs\)"):
        kronecker_factors(random(*activations), random(*signals))


# --- of a network


def network(rows, *, widths=(5, 4, 3, 3), **options):
    net = mlp(widths, **options)
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * random(*leaf.shape, seed=leaf.size), net.init(jax.random.key(0))
    )
    batch = Batch(random(rows, widths[0], seed=3), jnp.zeros(rows, int))
    return net, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params), batch


def block(net, params, batch, index):
    """The dense Gauss-Newton block of one layer, kernel rows first and bias last."""
    layer = params[index]

    def outputs(stacked):
        new = {**layer, "kernel": stacked[:-1], "bias": stacked[-1]}
        return net.apply((*params[:index], new, *params[index + 1 :]), batch.inputs)[0]

    stacked = jnp.concatenate([layer["kernel"], layer["bias"][None]])
    operator = ggn_vector_product(outputs, stacked)
    return jax.jit(jax.vmap(operator.matvec))(jnp.eye(operator.size))


def product(factors):
    return np.kron(factors.activations, factors.signals)


@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"activation": "tanh"}], ids=str)
def test_for_one_row_the_product_is_the_block_of_every_layer(options):
    net, params, batch = network(1, **options)
    factors = jax.jit(lambda p, b: dense_factors(net, p, b))(params, batch)
    assert len(factors) == 3
    for index, each in enumerate(factors):
        exact = block(net, params, batch, index)
        assert np.abs(exact).max() > 1e-4
        np.testing.assert_allclose(product(each), exact, rtol=0, atol=EXACT)


def test_for_equal_rows_it_is_the_block_and_for_different_rows_it_is_not():
    net, params, batch = network(6)
    equal = batch._replace(inputs=jnp.tile(batch.inputs[:1], (6, 1)))
    np.testing.assert_allclose(
        product(dense_factors(net, params, equal)[1]),
        block(net, params, equal, 1),
        rtol=0,
        atol=EXACT,
    )
    exact = block(net, params, batch, 1)
    apart = np.abs(product(dense_factors(net, params, batch)[1]) - exact).max()
    assert apart > 1e-2 * np.abs(exact).max()


def test_it_is_the_block_of_different_rows_where_all_have_the_same_signals():
    # A linear network of zero weights gives every class the same probability on every row.
    net, params, batch = network(6, widths=(5, 4))
    params = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_allclose(
        product(dense_factors(net, params, batch)[0]),
        block(net, params, batch, 0),
        rtol=0,
        atol=EXACT,
    )


def test_the_factors_of_a_network_are_those_of_its_inputs_and_signals():
    net, params, batch = network(6)
    _, features = net.apply(params, batch.inputs)

    def outputs(bias, row):
        layer = {**params[1], "bias": bias}
        return net.apply((params[0], layer, params[2]), row[None])[0][0]

    jacobians = jax.vmap(jax.jacobian(outputs), (None, 0))(params[1]["bias"], batch.inputs)
    p = jax.nn.softmax(net.apply(params, batch.inputs)[0])
    curvatures = jax.vmap(lambda p: jnp.diag(p) - jnp.outer(p, p))(p)
    values, vectors = jnp.linalg.eigh(curvatures)  # another root than the one inside
    roots = vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None, :]
    signals = jnp.einsum("nko,nkc->nco", jacobians, roots)
    expected = kronecker_factors(features[0], signals)
    found = dense_factors(net, params, batch)[1]
    np.testing.assert_allclose(found.activations, expected.activations, rtol=0, atol=EXACT)
    np.testing.assert_allclose(found.signals, expected.signals, rtol=0, atol=EXACT)


def test_a_convolution_with_one_position_and_one_row_has_its_exact_block():
    images, kernel = random(1, 3, 3, 2), random(3, 3, 2, 4, seed=1)
    head = random(4, 3, seed=2)

    def outputs(kernel):
        result = lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.tanh(result.reshape(1, -1)) @ head

    operator = ggn_vector_product(outputs, kernel)
    exact = jax.vmap(operator.matvec)(jnp.eye(operator.size))
    patches = convolution_activations(images, (3, 3), padding="VALID")
    pre = patches[0, 0] @ kernel.reshape(-1, 4)
    p = jax.nn.softmax(outputs(kernel)[0])
    root = jnp.diag(jnp.sqrt(p)) - jnp.outer(p, jnp.sqrt(p))
    signals = root.T @ head.T * (1 - jnp.tanh(pre) ** 2)[None]
    factors = kronecker_factors(patches, signals[None, :, None], bias=False)
    np.testing.assert_allclose(product(factors), exact, rtol=0, atol=EXACT)


def convolve(images, kernel, strides=(1, 1), padding="SAME"):
    kinds = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=kinds)


def convolutional(images, params, **options):
    """A convolution, tanh, and a dense layer: the forward pass with its taps."""

    def outputs(tap):
        patches = convolution_activations(images, params["kernel"].shape, **options)
        result = convolve(images, params["kernel"], **options) + params["bias"][None, None, None]
        hidden = jnp.tanh(tap(patches, result)).reshape(len(images), -1)
        return tap(hidden, hidden @ params["head"], bias=False)

    return outputs


def convolutional_params(positions, channels=2, seed=1):
    return {
        "kernel": random(3, 2, channels, 4, seed=seed) / 3,
        "bias": random(4, seed=seed + 1),
        "head": random(4 * positions, 3, seed=seed + 2) / 2,
    }


@pytest.mark.parametrize(
    ("strides", "padding", "shape", "before"),
    [
        ((1, 1), ((0, 0), (0, 0)), (3, 4), (0, 0)),
        ((2, 3), ((1, 0), (2, 1)), (2, 3), (1, 2)),
        ((2, 1), "SAME", (3, 5), (1, 0)),
    ],
)
def test_convolutional_factors_are_those_of_loops_over_rows_positions_and_classes(
    strides, padding, shape, before
):
    images, params = random(4, 5, 5, 2), convolutional_params(shape[0] * shape[1])
    forward = convolutional(images, params, strides=strides, padding=padding)
    convolution, dense = jax.jit(lambda: layer_factors(forward))()
    kernel, bias, head = (np.asarray(params[name]) for name in ("kernel", "bias", "head"))
    padded = np.zeros((4, 12, 12, 2))
    padded[:, before[0] : before[0] + 5, before[1] : before[1] + 5] = images
    a, g, dense_a, dense_g = np.zeros((13, 13)), np.zeros((4, 4)), 0.0, 0.0
    for image in padded:
        hidden = np.zeros((*shape, 4))
        for i in range(shape[0]):
            for j in range(shape[1]):
                top, left = i * strides[0], j * strides[1]
                patch = np.append(image[top : top + 3, left : left + 2], 1.0)  # h, w, channel, 1
                a += np.outer(patch, patch) / 4
                hidden[i, j] = np.tanh(patch[:-1] @ kernel.reshape(12, 4) + bias)
        p = np.exp(hidden.ravel() @ head)
        p /= p.sum()
        values, vectors = np.linalg.eigh(np.diag(p) - np.outer(p, p))  # another root
        for root in (vectors * np.sqrt(np.maximum(values, 0))).T:
            signals = (head @ root).reshape(*shape, 4) * (1 - hidden**2)
            for signal in signals.reshape(-1, 4):
                g += np.outer(signal, signal) / (4 * shape[0] * shape[1])
            dense_g = dense_g + np.outer(root, root) / 4
        dense_a = dense_a + np.outer(hidden, hidden) / 4
    for found, expected in zip((*convolution, *dense), (a, g, dense_a, dense_g), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def blocks(images, params, **options):
    """The dense Gauss-Newton blocks of the convolution, bias as its last row, and of the head."""
    whole = lambda part: convolutional(images, {**params, **part}, **options)(lambda _, r, **__: r)

    def of_the_convolution(stacked):
        return whole({"kernel": stacked[:-1].reshape(params["kernel"].shape), "bias": stacked[-1]})

    stacked = jnp.concatenate([params["kernel"].reshape(-1, 4), params["bias"][None]])
    for outputs, part in (
        (of_the_convolution, stacked),
        (lambda head: whole({"head": head}), params["head"]),
    ):
        operator = ggn_vector_product(outputs, part)
        yield jax.jit(jax.vmap(operator.matvec))(jnp.eye(operator.size))


@pytest.mark.parametrize("rows", [1, 4])
def test_with_one_position_and_equal_rows_the_product_is_the_block_of_every_layer(rows):
    images, params = jnp.tile(random(1, 3, 2, 2), (rows, 1, 1, 1)), convolutional_params(1)
    factors = layer_factors(convolutional(images, params, padding="VALID"))
    for found, exact in zip(factors, blocks(images, params, padding="VALID"), strict=True):
        assert np.abs(exact).max() > 1e-3
        np.testing.assert_allclose(product(found), exact, rtol=0, atol=EXACT)


def test_with_more_positions_the_coupling_between_them_is_left_out_of_a_convolution():
    images, params = random(1, 4, 3, 2), convolutional_params(4)
    factors = layer_factors(convolutional(images, params, padding="VALID"))
    convolution, head = blocks(images, params, padding="VALID")
    apart = np.abs(product(factors[0]) - convolution).max()
    assert apart > 1e-2 * np.abs(convolution).max()
    np.testing.assert_allclose(product(factors[1]), head, rtol=0, atol=EXACT)


def test_tapped_dense_layers_have_the_factors_of_a_perceptron():
    net, params, batch = network(6)

    def outputs(tap):
        hidden = batch.inputs
        for layer in params[:-1]:
            hidden = jax.nn.relu(tap(hidden, hidden @ layer["kernel"] + layer["bias"][None]))
        return tap(hidden, hidden @ params[-1]["kernel"] + params[-1]["bias"][None])

    for pair in zip(layer_factors(outputs), dense_factors(net, params, batch), strict=True):
        for found, expected in zip(*pair, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda tap: random(5, 3), "tapped no layer"),
        (lambda tap: tap(random(5, 4), random(5, 3))[:4], r"shape \(4, 3\).*of \[5\] rows"),
        (lambda tap: tap(random(5, 6, 4), random(5, 6, 3)), r"shape \(5, 6, 3\)"),
        (lambda tap: tap(random(5, 4), random(6, 3)), r"\(5, 4\) with a result .*\(6, 3\)"),
        (lambda tap: tap(random(5, 4), random(5, 2, 3)), r"\(rows, \*positions, outputs\)"),
        (lambda tap: tap(random(5, 6, 4), random(5, 2, 2, 3)), "same rows and positions"),
        (lambda tap: tap(random(5, 4), random(5)), r"a result of shape \(5,\)"),
    ],
)
def test_taps_that_do_not_fit_are_refused_with_what_does(outputs, message):
    with pytest.raises(ValueError, match=message):
        layer_factors(outputs)


def test_factors_of_a_float32_network_are_float32_and_close():
    net, params, batch = network(6)
    exact = dense_factors(net, params, batch)
    narrow = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)
    rows = batch._replace(inputs=batch.inputs.astype(jnp.float32))
    for found, expected in zip(dense_factors(net, narrow(params), rows), exact, strict=True):
        for part, reference in zip(found, expected, strict=True):
            assert part.dtype == jnp.float32
            np.testing.assert_allclose(part, reference, rtol=0, atol=1e-5 * np.abs(reference).max())


@pytest.mark.parametrize(
    "broken", [lambda p: {"layers": p}, lambda p: ({"w": p[0]["kernel"]},), lambda p: p[::-1]]
)
def test_parameters_that_are_no_dense_layers_are_refused(broken):
    net, params, batch = network(2, widths=(5, 4, 3))
    stubborn = net._replace(apply=lambda _, inputs: net.apply(params, inputs))
    with pytest.raises(ValueError, match=r"`params` should be a tuple of 2 layers.*networks\.mlp"):
        dense_factors(stubborn, broken(params), batch)


# --- what is read off them


def low_rank(size, rank, seed):
    half = random(size, rank, seed=seed)
    return half @ half.T


@pytest.mark.parametrize(("rank", "other"), [(5, 4), (2, 3), (1, 1)])
def test_rank_and_effective_rank_are_those_of_the_dense_product(rank, other):
    factors = KroneckerFactors(low_rank(5, rank, 0), low_rank(4, other, 1))
    eigenvalues = factor_eigenvalues(factors)
    dense = np.linalg.eigvalsh(product(factors))
    assert kronecker_rank(eigenvalues) == np.linalg.matrix_rank(product(factors)) == rank * other
    shares = dense[dense > 1e-12] / dense[dense > 1e-12].sum()
    entropy = -np.sum(shares * np.log(shares))
    assert kronecker_effective_rank(eigenvalues) == pytest.approx(np.exp(entropy), rel=1e-10)
    np.testing.assert_allclose(
        np.sort(np.outer(*eigenvalues), axis=None), dense, rtol=0, atol=1e-12 * dense[-1]
    )
    for epsilon in np.geomspace(1e-3, 0.9, 7) * dense[-1]:
        assert kronecker_epsilon_rank(eigenvalues, epsilon) == np.sum(dense > epsilon)


quarters = st.integers(0, 12).map(lambda number: number / 4)  # so that products tie often
ascending = st.lists(quarters | st.floats(0, 10), min_size=1, max_size=9).map(np.sort)


@given(values=ascending, partners=ascending, bounds=st.lists(quarters, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_count_above_epsilon_is_that_of_all_products_ties_included(values, partners, bounds):
    eigenvalues = FactorEigenvalues(values.astype(float), partners.astype(float))
    products = np.outer(values, partners)
    found = kronecker_epsilon_rank(eigenvalues, np.array(bounds))
    np.testing.assert_array_equal(found, [np.sum(products > bound) for bound in bounds])


def test_rounding_of_float32_features_does_not_count_as_rank():
    features = random(50, 3) @ random(3, 20, seed=1)
    factors = kronecker_factors(features.astype(jnp.float32), random(50, 4), bias=False)
    assert kronecker_rank(factor_eigenvalues(factors)) == 12


def test_a_zero_factor_leaves_no_rank_and_a_lost_one_leaves_nan():
    zero = factor_eigenvalues(KroneckerFactors(jnp.eye(3), jnp.zeros((2, 2))))
    lost = factor_eigenvalues(KroneckerFactors(jnp.eye(3), jnp.full((2, 2), jnp.nan)))
    for summary in (
        kronecker_rank,
        kronecker_effective_rank,
        lambda eigenvalues: kronecker_epsilon_rank(eigenvalues, 0.0),
    ):
        assert summary(zero) == 0
        assert np.isnan(summary(lost))


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="`epsilon` is -1"):
        kronecker_epsilon_rank(factor_eigenvalues(KroneckerFactors(jnp.eye(2), jnp.eye(2))), -1)
