"""More summaries of a spectrum against closed forms, and gradients against dense matrices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoteny.curvature import (
    Spectrum,
    effective_rank,
    epsilon_rank,
    hessian_vector_product,
    lanczos_coefficients,
    quadrature,
    trace,
)
from neoteny.curvature.summaries import (
    edge_of_stability,
    epsilon_rank_curve,
    frobenius_norm,
    gradient_alignment,
    gradient_curvature,
    jackknife,
    log_determinant,
    moment,
    predicted_decrease,
    ritz_effective_rank,
    variance,
)

SIZE = 12
VALUES = np.array([-3.0, -0.01, 0.0, 0.02, 1.0, 4.0])
finite = {"max_examples": 30, "deadline": None, "derandomize": True}


def by_hand(*rows):
    nodes = np.asarray(rows, np.float64)
    return Spectrum(nodes, np.full_like(nodes, 1 / nodes.shape[1]))


def symmetric(seed, size=SIZE):
    half = np.random.default_rng(seed).normal(size=(size, size)) / np.sqrt(size)
    return jnp.asarray(half + half.T)


@partial(jax.jit, static_argnames=("num_steps", "num_probes"))
def coefficients(matrix, key, num_steps, num_probes):
    loss = lambda x: 0.5 * x @ matrix @ x
    return lanczos_coefficients(loss, jnp.zeros(len(matrix)), key, num_steps, num_probes)


def measure(matrix, key, num_steps=SIZE, num_probes=4):
    return quadrature(*coefficients(matrix, key, num_steps, num_probes))


# --- of the spectrum


def test_summaries_of_a_whole_spectrum_are_their_definitions():
    spectrum = by_hand(VALUES)
    for order in range(5):
        assert moment(spectrum, 6, order).value == pytest.approx(np.sum(VALUES**order))
    assert moment(spectrum, 1, 2).value == pytest.approx(np.mean(VALUES**2))
    assert frobenius_norm(spectrum, 6).value == pytest.approx(np.linalg.norm(VALUES))
    assert variance(spectrum).value == pytest.approx(np.var(VALUES))
    assert log_determinant(spectrum, 6, 3.5).value == pytest.approx(np.sum(np.log(VALUES + 3.5)))
    shares = np.abs(VALUES[VALUES != 0]) / np.abs(VALUES).sum()
    assert ritz_effective_rank(spectrum).value == pytest.approx(
        np.exp(-np.sum(shares * np.log(shares)))
    )


def test_at_full_depth_they_agree_with_the_dense_matrix_within_their_errors(key):
    matrix = symmetric(0, 40)
    spectrum = measure(matrix, key, 40, 64)
    exact = np.linalg.eigvalsh(matrix)
    for estimate, value in [
        (moment(spectrum, 40, 4), np.sum(exact**4)),
        (frobenius_norm(spectrum, 40), np.linalg.norm(matrix)),
        (variance(spectrum), np.var(exact)),
        (log_determinant(spectrum, 40, 3.0), np.linalg.slogdet(matrix + 3 * jnp.eye(40))[1]),
    ]:
        assert estimate.standard_error < 0.1 * abs(value)
        assert abs(estimate.value - value) < 4 * estimate.standard_error


def test_the_frobenius_norm_and_the_variance_have_honest_errors(key):
    matrix, size = symmetric(4, 24), 24
    run = lambda repeat: measure(matrix, jax.random.fold_in(key, repeat), 4, 16)
    spectra = [run(repeat) for repeat in range(60)]
    exact = np.linalg.eigvalsh(matrix)
    for summary, value in [
        (lambda s: frobenius_norm(s, size), np.linalg.norm(exact)),
        (variance, np.var(exact)),
    ]:
        estimates = np.array([summary(spectrum) for spectrum in spectra])
        spread = estimates[:, 0].std()
        # 60 draws know a deviation to 9 %, and one jackknife of 16 probes is as good as 18 %.
        assert np.mean(estimates[:, 1]) == pytest.approx(spread, rel=0.3)
        assert abs(estimates[:, 0].mean() - value) < 4 * spread / np.sqrt(60) + 0.01 * value


def test_two_steps_have_the_second_moment_and_one_step_has_not(key):
    matrix = symmetric(5)
    full = frobenius_norm(measure(matrix, key), SIZE).value
    two = frobenius_norm(measure(matrix, key, 2), SIZE).value
    one = frobenius_norm(measure(matrix, key, 1), SIZE).value
    assert two == pytest.approx(full, rel=1e-12)
    assert one < 0.9 * full


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-5, 5),
)
@settings(**finite)
def test_scaling_and_shifting_a_spectrum_moves_its_summaries_as_it_should(seed, scale, shift):
    rng = np.random.default_rng(seed)
    nodes, weights = rng.normal(size=(3, 7)), rng.dirichlet(np.ones(7), size=3)
    before = Spectrum(nodes, weights)
    after = Spectrum(scale * nodes, weights)
    moved = Spectrum(nodes + shift, weights)
    close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(variance(after), np.multiply(scale**2, variance(before)))
    close(variance(moved), variance(before))
    close(frobenius_norm(after, 9), np.multiply(scale, frobenius_norm(before, 9)))
    close(moment(after, 9, 3), np.multiply(scale**3, moment(before, 9, 3)))
    close(ritz_effective_rank(after), ritz_effective_rank(before))
    close(log_determinant(moved, 9, 9 - shift), log_determinant(before, 9, 9.0))


def test_the_unweighted_rank_is_bounded_by_the_steps_and_is_not_that_of_the_matrix(key):
    matrix = symmetric(2, 200) + 10 * jnp.eye(200)  # all eigenvalues alike: a rank of nearly 200
    spectrum = measure(matrix, key, 8, 2)
    assert ritz_effective_rank(spectrum).value <= 8
    assert effective_rank(spectrum, 200).value > 190


def test_the_curve_is_the_epsilon_rank_at_each_epsilon_and_falls_from_rank_to_zero():
    spectrum = by_hand(VALUES, 2 * VALUES)
    curve = epsilon_rank_curve(spectrum, 6)
    assert curve.epsilons[0] == pytest.approx(0.01)
    assert curve.epsilons[-1] == 8
    assert (np.diff(curve.epsilons) > 0).all()
    assert (np.diff(curve.value) <= 0).all()
    assert curve.value[0] == pytest.approx(4.5)  # the smallest is not above itself
    assert curve.value[-1] == 0
    at = np.array([0.5, 3.5])
    chosen = epsilon_rank_curve(spectrum, 6, at)
    np.testing.assert_array_equal(chosen.epsilons, at)
    np.testing.assert_array_equal(chosen.value, epsilon_rank(spectrum, 6, at).value)


def test_rounding_does_not_stretch_the_default_epsilons():
    assert epsilon_rank_curve(by_hand([1e-17, 1.0, 5.0]), 3).epsilons[0] == pytest.approx(5e-8)


def test_a_zero_hessian_has_finite_summaries(key):
    spectrum = measure(jnp.zeros((SIZE, SIZE)), key, 5, 2)
    assert moment(spectrum, SIZE, 2) == (0, 0)
    assert frobenius_norm(spectrum, SIZE) == (0, 0)
    assert variance(spectrum) == (0, 0)
    assert ritz_effective_rank(spectrum) == (0, 0)
    assert log_determinant(spectrum, SIZE, 1.0) == (0, 0)
    assert (epsilon_rank_curve(spectrum, SIZE).value == 0).all()


def test_padding_after_breakdown_never_counts(key):
    spectrum = measure(7.0 * jnp.eye(SIZE), key, 5, 2)
    assert (spectrum.weights == 0).any()
    assert log_determinant(spectrum, SIZE, 0.0).value == pytest.approx(SIZE * np.log(7))
    assert ritz_effective_rank(spectrum).value == pytest.approx(1)
    assert variance(spectrum).value == pytest.approx(0, abs=1e-20)
    assert epsilon_rank_curve(spectrum, SIZE).epsilons[0] == pytest.approx(7)


def test_a_spectrum_of_nan_gives_nan_and_not_an_exception():
    spectrum = Spectrum(np.full((2, 3), np.nan), np.full((2, 3), np.nan))
    for estimate in [
        moment(spectrum, 3, 2),
        frobenius_norm(spectrum, 3),
        variance(spectrum),
        log_determinant(spectrum, 3, 1.0),
        ritz_effective_rank(spectrum),
    ]:
        assert np.isnan(estimate.value)
    assert np.isnan(epsilon_rank_curve(spectrum, 3).value).all()


def test_the_jackknife_of_a_mean_is_the_standard_error_and_of_one_probe_unknown():
    terms = np.random.default_rng(0).normal(size=(7, 3))
    value, error = jackknife(terms)
    np.testing.assert_allclose(value, terms.mean(axis=0))
    np.testing.assert_allclose(error, terms.std(axis=0, ddof=1) / np.sqrt(7))
    assert np.isnan(variance(by_hand(VALUES)).standard_error)
    spectrum = by_hand(VALUES, 2 * VALUES)
    np.testing.assert_allclose(moment(spectrum, 6, 1), trace(spectrum, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: moment(s, 3, -1), "`order` is -1"),
        (lambda s: moment(s, 0, 1), "`size` is 0"),
        (lambda s: frobenius_norm(s, 0), "`size` is 0"),
        (lambda s: log_determinant(s, 3, 2.0), r"`shift` is 2.0.*is -2,.*above 2, .*`shift=4.0`"),
        (lambda s: log_determinant(s, 0, 9.0), "`size` is 0"),
        (lambda s: edge_of_stability(3.0, 0.0), "`learning_rate` is 0.0"),
    ],
)
def test_impossible_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(by_hand([-2.0, 2.0, 3.0]))


# --- of a gradient


@pytest.fixture
def quadratic(key):
    matrix = symmetric(1)
    point = jax.random.normal(key, (SIZE,))
    loss = lambda x: 0.5 * x @ matrix @ x
    return loss, matrix, point, hessian_vector_product(loss, point)


def test_curvature_along_a_gradient_is_that_of_the_dense_matrix(quadratic):
    loss, matrix, point, operator = quadratic
    gradient = jax.grad(loss)(point)
    measured = gradient_curvature(operator, gradient)
    bent = matrix @ gradient
    square = gradient @ gradient
    assert measured.norm == pytest.approx(float(jnp.sqrt(square)), rel=1e-12)
    assert measured.along == pytest.approx(float(gradient @ bent / square), rel=1e-12)
    cosine = gradient @ bent / jnp.sqrt(square * (bent @ bent))
    assert measured.cosine == pytest.approx(float(cosine), rel=1e-12)


@pytest.mark.parametrize("rate", [0.01, 0.3, 5.0])
def test_on_a_quadratic_loss_the_predicted_decrease_is_the_decrease(quadratic, rate):
    loss, _, point, operator = quadratic
    gradient = jax.grad(loss)(point)
    predicted = predicted_decrease(gradient_curvature(operator, gradient), rate)
    assert predicted == pytest.approx(float(loss(point) - loss(point - rate * gradient)), rel=1e-10)


def test_the_prediction_errs_by_the_third_power_of_the_step(key):
    point = jax.random.normal(key, (SIZE,))
    loss = lambda x: jnp.sum(jnp.exp(x))
    gradient = jax.grad(loss)(point)
    measured = gradient_curvature(hessian_vector_product(loss, point), gradient)
    rates = np.geomspace(1e-3, 1e-2, 5)
    errors = [
        abs(predicted_decrease(measured, r) - (loss(point) - loss(point - r * gradient)))
        for r in rates
    ]
    slope = np.polyfit(np.log(rates), np.log(errors), 1)[0]
    assert slope == pytest.approx(3, abs=0.1)


def test_at_the_edge_of_stability_the_quadratic_neither_grows_nor_shrinks():
    sharpness, rate = 4.0, 0.5
    assert edge_of_stability(sharpness, rate) == 1
    assert edge_of_stability(sharpness, 0.4) == pytest.approx(0.8)
    step = lambda x: x - rate * sharpness * x
    assert abs(step(1.0)) == 1


def test_gradients_may_be_pytrees_and_the_functions_may_be_jitted():
    params = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
    loss = lambda p: jnp.sum(jnp.sin(p["a"])) + jnp.sum(p["b"] ** 4)
    gradient = jax.grad(loss)(params)

    @jax.jit
    def run(params, gradient):
        return gradient_curvature(hessian_vector_product(loss, params), gradient)

    diagonal = jnp.concatenate([-jnp.sin(params["a"]), 12 * params["b"].ravel() ** 2])
    flat = jnp.concatenate([gradient["a"], gradient["b"].ravel()])
    expected = float(jnp.sum(diagonal * flat**2) / jnp.sum(flat**2))
    assert run(params, gradient).along == pytest.approx(expected, rel=1e-12)
    assert jax.jit(gradient_alignment)(gradient, jnp.eye(7)[:3]) == pytest.approx(
        float(jnp.sum(flat[:3] ** 2) / jnp.sum(flat**2)), rel=1e-12
    )


def test_alignment_is_the_share_in_the_space_and_one_in_all_of_it(key):
    matrix = symmetric(6)
    vectors = jnp.linalg.eigh(matrix)[1].T
    gradient = jax.random.normal(key, (SIZE,))
    shares = [float(gradient_alignment(gradient, vectors[:count])) for count in range(1, SIZE + 1)]
    assert shares[-1] == pytest.approx(1, rel=1e-12)
    assert (np.diff(shares) > 0).all()
    projected = vectors[:4].T @ (vectors[:4] @ gradient)
    assert shares[3] == pytest.approx(float(projected @ projected / (gradient @ gradient)))
    assert gradient_alignment(vectors[2], vectors[:3]) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_size_of_a_float32_gradient_does_not_matter(key, scale):
    diagonal = jnp.linspace(-1, 2, SIZE, dtype=jnp.float32)
    loss = lambda x: 0.5 * jnp.sum(diagonal * x**2)
    operator = hessian_vector_product(loss, jnp.zeros(SIZE, jnp.float32))
    gradient = jax.random.normal(key, (SIZE,), jnp.float32)
    scaled = jnp.float32(scale) * gradient
    expected = float(jnp.sum(diagonal * gradient**2) / jnp.sum(gradient**2))
    assert gradient_curvature(operator, scaled).along == pytest.approx(expected, rel=1e-5)
    assert gradient_alignment(scaled, jnp.eye(SIZE, dtype=jnp.float32)) == pytest.approx(1, 1e-5)


def test_a_zero_gradient_has_no_curvature_and_no_alignment(quadratic):
    *_, operator = quadratic
    assert gradient_curvature(operator, jnp.zeros(SIZE)) == (0, 0, 0)
    assert gradient_alignment(jnp.zeros(SIZE), jnp.eye(SIZE)) == 0


def test_a_gradient_of_other_parameters_is_refused(quadratic):
    *_, operator = quadratic
    with pytest.raises(ValueError, match=r"`gradient` holds 3 numbers.*12 x 12"):
        gradient_curvature(operator, jnp.ones(3))
