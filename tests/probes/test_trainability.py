"""Theorems of `docs/theory.md`, each against a computation that does not know it."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from neoteny.curvature import ggn_vector_product
from neoteny.errors import UserError
from neoteny.losses import CURVED, LOSSES, task_loss
from neoteny.networks import mlp
from neoteny.probes import (
    alignment_weighted_rank,
    alive_units,
    certain_zero_eigenvalues,
    dead_for_every_permutation,
    dead_margins,
    dead_unit_rank_bound,
    descent_bounds,
    hausdorff_shift,
    is_trainable,
    linearise,
    linearised_loss,
    predicted_loss,
    rank_share,
    required_alignment,
    stays_dead,
    trainability,
    trainability_at,
    trainability_probe,
)
from neoteny.types import Batch, Snapshot

pytestmark = pytest.mark.usefixtures("compiled_once")

ROWS, INPUTS, CLASSES = 6, 4, 3
EXACT = 1e-10  # float64, after up to a hundred steps of some hundred operations
SEEDS = st.integers(0, 2**31 - 1)
property_test = settings(max_examples=25, deadline=None, derandomize=True)


def rows(seed=1, count=ROWS):
    inputs = jax.random.normal(jax.random.key(seed), (count, INPUTS))
    return Batch(inputs, jnp.arange(count) % CLASSES)


def linear(seed=2, scale=1.0):
    """A network linear in its parameters, where linearisation changes nothing."""
    network = mlp((INPUTS, CLASSES))
    return network, jax.tree.map(lambda leaf: scale * leaf, network.init(jax.random.key(seed)))


def nonlinear(seed=2, activation="tanh"):
    network = mlp((INPUTS, 5, 4, CLASSES), activation=activation)
    shapes = network.init(jax.random.key(seed))
    flat, unravel = ravel_pytree(shapes)
    return network, unravel(0.7 * jax.random.normal(jax.random.key(seed), flat.shape))


def flat_problem(network, params, batch, loss):
    flat, unravel = ravel_pytree(params)
    whole = task_loss(network, LOSSES[loss], batch)
    return flat, lambda vector: whole(unravel(vector))


def descend(objective, start, learning_rate, steps):
    gradient = jax.grad(objective)
    move = lambda _, vector: vector - learning_rate * gradient(vector)
    return objective(jax.lax.fori_loop(0, steps, move, start))


def random_gram(seed, size=8, rank=5):
    keys = jax.random.split(jax.random.key(seed), 2)
    root = jax.random.normal(keys[0], (size, rank)) * 0.3 ** jnp.arange(rank)[None]
    return root @ root.T, jax.random.normal(keys[1], (size,))


@pytest.mark.parametrize("loss", CURVED)
def test_both_matrices_give_the_length_of_the_gradient(loss):
    network, params = nonlinear()
    flat, objective = flat_problem(network, params, rows(), loss)
    seen = linearise(network, params, rows(), loss=loss)
    squared = jnp.sum(jax.grad(objective)(flat) ** 2)
    for matrix, vector in ((seen.ntk, seen.slope), (seen.gram, seen.residual)):
        np.testing.assert_allclose(vector @ matrix @ vector, squared, rtol=EXACT)
    np.testing.assert_allclose(seen.loss, objective(flat), rtol=EXACT)


def test_the_weighted_gram_matrix_has_the_eigenvalues_of_the_gauss_newton_matrix():
    network, params = nonlinear()
    operator = ggn_vector_product(lambda p: network.apply(p, rows().inputs)[0], params)
    ggn = jnp.linalg.eigvalsh(jax.vmap(operator.matvec)(jnp.eye(operator.size)))
    gram = jnp.linalg.eigvalsh(linearise(network, params, rows()).gram)
    count = ROWS * (CLASSES - 1)
    np.testing.assert_allclose(gram[-count:], ggn[-count:], atol=EXACT)
    np.testing.assert_allclose(gram[:-count], 0, atol=EXACT)


def test_the_squared_residual_of_cross_entropy_is_the_exponential_of_the_loss_less_one():
    network, params = nonlinear()
    outputs, _ = network.apply(params, rows().inputs)
    losses = LOSSES["cross-entropy"](outputs, rows().labels)
    residual = linearise(network, params, rows()).residual.reshape(ROWS, CLASSES)
    np.testing.assert_allclose(jnp.sum(residual**2, 1) * ROWS, jnp.expm1(losses), rtol=EXACT)
    whitened_null = jnp.sqrt(jax.nn.softmax(outputs))
    np.testing.assert_allclose(jnp.sum(residual * whitened_null, 1), 0, atol=EXACT)


@pytest.mark.parametrize("learning_rate", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("steps", [1, pytest.param(7, marks=pytest.mark.further), 100])
def test_squared_error_of_a_linear_network_is_predicted_exactly(learning_rate, steps):
    network, params = linear()
    flat, objective = flat_problem(network, params, rows(), "squared-error")
    reached = jax.jit(descend, static_argnums=0)(objective, flat, learning_rate, steps)
    seen = linearise(network, params, rows(), loss="squared-error")
    predicted = predicted_loss(seen.gram, seen.residual, learning_rate, steps)
    np.testing.assert_allclose(predicted, reached, rtol=EXACT)
    measured = trainability(seen.gram, seen.residual, learning_rate, steps)
    np.testing.assert_allclose(measured.predicted_loss, reached, rtol=EXACT)


@pytest.mark.parametrize("loss", CURVED)
def test_the_prediction_is_gradient_descent_on_the_local_quadratic_model(loss):
    network, params = nonlinear()
    flat, objective = flat_problem(network, params, rows(), loss)
    _, unravel = ravel_pytree(params)
    outputs = lambda vector: network.apply(unravel(vector), rows().inputs)[0]
    jacobian = jax.jacobian(outputs)(flat)
    rowwise = lambda f, label: LOSSES[loss](f[None], label[None])[0]
    second = jax.vmap(jax.hessian(rowwise))(outputs(flat), rows().labels)
    ggn = jnp.einsum("rcp,rcd,rdq->pq", jacobian, second, jacobian) / ROWS
    value, gradient = jax.value_and_grad(objective)(flat)
    model = lambda step: value + gradient @ step + step @ ggn @ step / 2
    reached = descend(model, jnp.zeros_like(flat), 0.4, 30)
    seen = linearise(network, params, rows(), loss=loss)
    predicted = predicted_loss(seen.gram, seen.residual, 0.4, 30, loss=seen.loss)
    np.testing.assert_allclose(predicted, reached, rtol=EXACT)


@pytest.mark.parametrize("loss", CURVED)
def test_the_linearised_loss_is_gradient_descent_on_a_linear_network(loss):
    network, params = linear()
    flat, objective = flat_problem(network, params, rows(), loss)
    seen = linearise(network, params, rows(), loss=loss)
    outputs, _ = network.apply(params, rows().inputs)
    found = linearised_loss(seen.ntk, outputs, rows().labels, 0.5, 40, loss=loss)
    np.testing.assert_allclose(found, descend(objective, flat, 0.5, 40), rtol=EXACT)


@given(seed=SEEDS, steps=st.integers(1, 200), fraction=st.floats(0.01, 1.0))
@property_test
def test_the_alignment_bounds_the_predicted_loss_on_both_sides(seed, steps, fraction):
    gram, residual = random_gram(seed)
    learning_rate = fraction / float(jnp.linalg.eigvalsh(gram)[-1])
    measured = trainability(gram, residual, learning_rate, steps)
    slack = EXACT * float(residual @ residual)
    assert measured.lower_loss <= measured.predicted_loss + slack
    assert measured.predicted_loss <= measured.upper_loss + slack


@given(seed=SEEDS, steps=st.integers(2, 200), fraction=st.floats(0.01, 1.0))
@property_test
def test_whoever_reduces_the_residual_had_the_alignment_required(seed, steps, fraction):
    gram, residual = random_gram(seed, rank=8)
    learning_rate = fraction / float(jnp.linalg.eigvalsh(gram)[-1])
    measured = trainability(gram, residual, learning_rate, steps)
    reduction = float(2 * measured.predicted_loss / (residual @ residual))
    assert is_trainable(measured, required_alignment(reduction, steps) - EXACT)


def test_the_bounds_are_sharp_where_all_eigenvalues_sit_at_epsilon_or_at_zero():
    steps, learning_rate = 20, 0.5
    epsilon = 1 / (learning_rate * steps)
    residual = jnp.array([1.0, 2.0])
    at = trainability(jnp.diag(jnp.array([epsilon, epsilon])), residual, learning_rate, steps)
    np.testing.assert_allclose(at.predicted_loss, at.lower_loss, rtol=EXACT)
    above = epsilon * (1 + 1e-12)
    over = trainability(jnp.diag(jnp.array([0.0, above])), residual, learning_rate, steps)
    np.testing.assert_allclose(over.predicted_loss, over.upper_loss, rtol=EXACT)
    assert at.alignment == 0 and over.alignment == pytest.approx(0.8)


def test_a_step_beyond_stability_has_no_upper_bound_and_diverges():
    gram, residual = jnp.diag(jnp.array([1.0, 4.0])), jnp.ones(2)
    measured = trainability(gram, residual, 0.6, 50)
    assert measured.upper_loss == jnp.inf
    assert measured.predicted_loss == pytest.approx((1.4**100 + 0.4**100) / 2)
    assert trainability(gram, residual, 0.45, 50).upper_loss < jnp.inf


def test_a_tiny_rate_over_many_steps_is_accurate_in_float32():
    gram, residual = jnp.diag(jnp.array([1e-5, 1.0], jnp.float32)), jnp.ones(2, jnp.float32)
    predicted = predicted_loss(gram, residual, 0.01, 1_000_000)
    assert predicted.dtype == jnp.float32
    # 1 - 1e-7 rounded in float32 would give exp(-0.238) in place of exp(-0.2)
    np.testing.assert_allclose(predicted, np.exp(-0.2) / 2, rtol=1e-5)


@partial(jax.jit, static_argnames="loss")
def descent_and_bounds(seed, scale, fraction, steps, loss):
    network, params = linear(seed, scale)
    batch = rows(seed)
    seen = linearise(network, params, batch, loss=loss)
    smoothness = {"cross-entropy": 0.5, "squared-error": 2 / CLASSES}[loss]
    rate = fraction / (smoothness * jnp.linalg.eigvalsh(seen.ntk)[-1])
    outputs, _ = network.apply(params, batch.inputs)
    reached = linearised_loss(seen.ntk, outputs, batch.labels, rate, steps, loss=loss)
    return seen.loss, reached, *descent_bounds(seen.ntk, seen.slope, rate, steps, smoothness)


@pytest.mark.parametrize("loss", CURVED)
@given(
    seed=SEEDS, steps=st.integers(1, 100), fraction=st.floats(0.001, 1.999), scale=st.floats(0, 9)
)
@property_test
def test_descent_on_the_true_loss_stays_within_its_bounds(loss, seed, steps, fraction, scale):
    before, reached, least, most = descent_and_bounds(seed, scale, fraction, steps, loss)
    slack = EXACT * (1 + float(before))
    assert least > 0 if fraction < 0.999 else least == -jnp.inf or fraction < 1.001
    assert most < jnp.inf
    assert least - slack <= before - reached <= most + slack


def test_the_descent_bounds_meet_up_to_a_factor_of_two_for_small_budgets():
    gram, slope = random_gram(0)
    least, most = descent_bounds(gram, slope, 1e-9, 1, 0.5)
    np.testing.assert_allclose(2 * least, most, rtol=1e-7)
    assert descent_bounds(gram, slope, 1e9, 1, 0.5) == (-jnp.inf, jnp.inf)


def test_confident_mistakes_flatten_the_weighted_matrix_but_not_the_descent():
    network, params = linear()
    outputs, _ = network.apply(params, rows().inputs)
    wrong = Batch(rows().inputs, jnp.argmin(outputs, axis=1))
    confident = jax.tree.map(lambda leaf: 20.0 * leaf, params)
    timid, sure = (
        trainability_at(0.5, 100)(snapshot(network, weights, wrong))
        for weights in (params, confident)
    )
    assert sure.rank_share == 0 and sure.alignment < 1e-9
    assert sure.ntk_rank_share == timid.ntk_rank_share > 0.8
    assert sure.ntk_alignment > 0.99
    start = linearise(network, confident, wrong).loss
    assert start > 50 and sure.linearised_loss < 0.05  # what the frozen model calls hopeless
    assert sure.predicted_loss < 0  # and it promises more than there is


def softmax_curvature(outputs):
    return jax.vmap(jax.hessian(jax.scipy.special.logsumexp))(outputs)


def test_frozen_curvature_holds_while_differences_of_outputs_stand():
    keys = jax.random.split(jax.random.key(0), 3)
    outputs, moves, tests = (jax.random.normal(key, (500, CLASSES)) for key in keys)
    quadratic = lambda f: jnp.einsum("rc,rcd,rd->r", tests, softmax_curvature(f), tests)
    largest = jnp.max(moves, axis=1) - jnp.min(moves, axis=1)
    change = jnp.abs(jnp.log(quadratic(3 * outputs + moves) / quadratic(3 * outputs)))
    assert jnp.all(change <= largest + EXACT)
    assert jnp.max(change / largest) > 0.95


def test_the_trace_of_softmax_curvature_falls_exponentially_with_the_margin():
    outputs = 5 * jax.random.normal(jax.random.key(0), (500, CLASSES))
    top = jnp.sort(outputs, axis=1)
    margin = top[:, -1] - top[:, -2]
    traces = jnp.trace(softmax_curvature(outputs), axis1=1, axis2=2)
    assert jnp.all(traces <= 2 * (CLASSES - 1) * jnp.exp(-margin))


def test_rank_share_is_the_mean_alignment_of_residuals_without_direction():
    gram, _ = random_gram(3)
    epsilon = 1e-3
    draws = jax.random.normal(jax.random.key(4), (4000, len(gram)))
    mean = jnp.mean(jax.vmap(lambda draw: alignment_weighted_rank(gram, draw, epsilon))(draws))
    np.testing.assert_allclose(mean, rank_share(gram, epsilon), atol=0.02)
    assert rank_share(gram, epsilon, dimension=16) == rank_share(gram, epsilon) / 2


def test_both_shares_are_curves_over_epsilon_from_the_rank_down_to_nothing():
    gram, residual = random_gram(5, size=8, rank=5)
    values = jnp.linalg.eigvalsh(gram)
    curve = rank_share(gram, jnp.append(values[-5:] * (1 - 1e-9), 0.0))
    np.testing.assert_allclose(curve, jnp.array([5, 4, 3, 2, 1, 5]) / 8)
    aligned = alignment_weighted_rank(gram, residual, jnp.array([0.0, 1e-3, 2 * values[-1]]))
    assert 1 > aligned[0] > aligned[1] > aligned[2] == 0
    alone = alignment_weighted_rank(gram, residual, 1e-3)
    np.testing.assert_allclose(alone, aligned[1], rtol=1e-12)


def test_nothing_to_learn_is_aligned_and_a_dead_kernel_is_not():
    gram, residual = random_gram(0)
    assert alignment_weighted_rank(gram, 0 * residual, 0.1) == 1
    assert alignment_weighted_rank(0 * gram, residual, 0.0) == 0
    assert rank_share(0 * gram, 0.0) == 0


def test_a_residual_whose_square_overflows_still_has_an_alignment():
    gram = jnp.diag(jnp.array([1e-6, 1.0], jnp.float32))
    assert alignment_weighted_rank(gram, jnp.array([3e25, 4e25], jnp.float32), 0.1) == 0.64


@pytest.mark.parametrize(
    "reduction, steps, expected", [(0.0, 9, 1.0), (1.0, 9, 0.0), (0.01, 1, 0.0)]
)
def test_the_alignment_required_is_none_for_no_reduction_and_all_for_a_whole_one(
    reduction, steps, expected
):
    assert required_alignment(reduction, steps) == expected
    assert required_alignment(0.01, 10**7) == pytest.approx(1 - 0.01 * np.exp(2))


def snapshot(network, params, batch):
    loss = task_loss(network, LOSSES["cross-entropy"], batch)
    return Snapshot(network, batch, params, params, loss, jax.random.key(0))


def test_the_probes_agree_with_the_functions_they_are_made_of():
    network, params = nonlinear()
    shot = snapshot(network, params, rows())
    seen = linearise(network, params, rows())
    top = jnp.linalg.eigvalsh(seen.gram)[-1]
    relative = jax.jit(lambda p: trainability_probe(snapshot(network, p, rows())))(params)
    space = ROWS * (CLASSES - 1)
    np.testing.assert_allclose(relative.largest_eigenvalue, top)
    np.testing.assert_allclose(
        relative.alignment, alignment_weighted_rank(seen.gram, seen.residual, 1e-3 * top)
    )
    assert relative.rank_share == rank_share(seen.gram, 1e-3 * top, dimension=space)
    budget = trainability_at(0.1, 50)(shot)
    alone = trainability(seen.gram, seen.residual, 0.1, 50, loss=seen.loss, dimension=space)
    np.testing.assert_allclose(budget[: len(alone)], alone, rtol=EXACT)
    assert budget.epsilon == pytest.approx(0.2)
    assert budget.edge == pytest.approx(0.1 * float(top) / 2)
    assert budget.possible_loss <= budget.linearised_loss <= budget.guaranteed_loss
    assert np.isnan(trainability_at(0.1, 50, simulate=False)(shot).linearised_loss)


def test_float32_parameters_give_float32_measurements_close_to_those_of_float64():
    network, params = nonlinear()
    halve = lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf
    single = jax.tree.map(halve, (params, rows()))
    for probe in (trainability_probe, trainability_at(0.1, 50)):
        found = probe(snapshot(network, *single))
        assert {value.dtype for value in found} == {np.dtype("float32")}
        exact = probe(snapshot(network, params, rows()))
        np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_what_cannot_be_measured_is_refused_by_name():
    network, params = nonlinear()
    with pytest.raises(UserError, match="no loss `hinge`"):
        linearise(network, params, rows(), loss="hinge")
    with pytest.raises(UserError, match="Did you mean `cross-entropy`"):
        trainability_at(0.1, 5, loss="crossentropy")
    with pytest.raises(ValueError, match="`learning_rate` is -1"):
        trainability_at(-1.0, 5)
    with pytest.raises(ValueError, match=r"`reduction` is 1\.5"):
        required_alignment(1.5, 5)


WIDTHS = (INPUTS, 5, 4, CLASSES)


def killed(seed, dead, widths=WIDTHS):
    """A ReLU network with chosen units, `(layer, unit)`, pushed far below zero."""
    network = mlp(widths)
    params = network.init(jax.random.key(seed))
    draw = lambda i, leaf: leaf + 0.3 * jax.random.normal(jax.random.key(i), leaf.shape)
    params = jax.tree.map(lambda leaf: draw(leaf.size, leaf), params)
    for layer, unit in dead:
        params[layer]["bias"] = params[layer]["bias"].at[unit].set(-100.0)
    return network, params


def dense_rank(network, params, batch, loss, matrix):
    flat, objective = flat_problem(network, params, batch, loss)
    if matrix == "hessian":
        dense = jax.hessian(objective)(flat)
    else:
        _, unravel = ravel_pytree(params)
        outputs = lambda vector: network.apply(unravel(vector), batch.inputs)[0]
        jacobian = jax.jacobian(outputs)(flat)
        rowwise = lambda f, label: LOSSES[loss](f[None], label[None])[0]
        second = jax.vmap(jax.hessian(rowwise))(outputs(flat), batch.labels)
        dense = jnp.einsum("rcp,rcd,rdq->pq", jacobian, second, jacobian)
    return int(jnp.linalg.matrix_rank(dense, rtol=1e-11))


DEAD = {
    "none": [],
    "one": [(0, 1)],
    "several": [(0, 0), (0, 3), (1, 2)],
    "a whole layer": [(1, unit) for unit in range(4)],
    "the first layer": [(0, unit) for unit in range(5)],
}


@pytest.mark.parametrize("matrix", ["hessian", pytest.param("ggn", marks=pytest.mark.further)])
@pytest.mark.parametrize("loss", CURVED)
@pytest.mark.parametrize(
    "dead",
    [
        pytest.param(dead, id=name, marks=pytest.mark.further if name == "one" else ())
        for name, dead in DEAD.items()
    ],
)
def test_dead_units_bound_the_rank_of_dense_curvature(dead, loss, matrix):
    network, params = killed(0, dead)
    batch = rows(count=40)
    options = {"loss": loss, "matrix": matrix}
    bound = dead_unit_rank_bound(network, params, batch.inputs, **options)
    rank = dense_rank(network, params, batch, loss, matrix)
    assert rank <= bound
    zeros = certain_zero_eigenvalues(network, params, batch.inputs, **options)
    assert zeros == sum(leaf.size for leaf in jax.tree.leaves(params)) - bound
    if dead in (DEAD["several"], DEAD["a whole layer"]):
        assert rank == bound  # elsewhere units that speak on few rows lower it further


def test_the_bound_counts_weights_between_alive_units_and_their_biases():
    network, params = killed(0, [])
    params[0]["bias"] = jnp.ones(5).at[1].set(-100.0)  # the others speak on some row
    params[1]["bias"] = jnp.ones(4).at[2].set(-100.0)
    inputs = rows(count=40).inputs.at[:, 0].set(0.0)
    np.testing.assert_array_equal(alive_units(network, params, inputs), [3, 4, 3, 3])
    count = 4 * (3 + 1) + 3 * (4 + 1)
    for loss, outputs in (("squared-error", 3), ("cross-entropy", 2)):
        bound = dead_unit_rank_bound(network, params, inputs, loss=loss)
        assert bound == count + outputs * (3 + 1)
    few = dead_unit_rank_bound(network, params, inputs[:2], matrix="ggn")
    assert few == 2 * (CLASSES - 1)


def test_a_unit_at_exactly_zero_on_one_row_counts_as_alive():
    network, params = killed(0, [])
    inputs = rows(count=10).inputs.at[3].set(0.0)
    params[0]["kernel"] = params[0]["kernel"].at[:, 2].set(0.0)
    for bias, alive in ((0.0, 5), (-1e-30, 4)):
        params[0]["bias"] = params[0]["bias"].at[2].set(bias)
        assert alive_units(network, params, inputs)[1] == alive
    params[0]["kernel"] = params[0]["kernel"].at[0, 2].set(1.0)
    params[0]["bias"] = params[0]["bias"].at[2].set(0.0)
    silent = inputs.at[:, 0].set(-1.0).at[3, 0].set(0.0)
    assert alive_units(network, params, silent)[1] == 5


def test_a_margin_is_how_far_inputs_must_move_to_revive_a_unit():
    network, params = killed(1, [(0, 1), (0, 4), (1, 0)])
    inputs = rows(count=10).inputs
    margins = dead_margins(network, params, inputs)
    _, features = network.apply(params, inputs)
    for margin, layer in zip(margins, features, strict=True):
        np.testing.assert_array_equal(margin > 0, jnp.all(layer == 0, axis=0))
        assert 0 < jnp.sum(margin > 0) < len(margin)
    kernel, bias = params[0]["kernel"], params[0]["bias"]
    for unit in (1, 4):
        direction = kernel[:, unit] / jnp.linalg.norm(kernel[:, unit])
        nearest = inputs[jnp.argmax(inputs @ kernel[:, unit])]
        for share, alive in ((0.999, False), (1.001, True)):
            moved = nearest + share * margins[0][unit] * direction
            assert (moved @ kernel[:, unit] + bias[unit] > 0) == alive


def test_units_without_incoming_weights_stay_as_their_bias_has_them():
    network, params = killed(1, [])
    params[0]["kernel"] = jnp.zeros_like(params[0]["kernel"])
    params[0]["bias"] = jnp.array([-1.0, 0.0, 1.0, -1e-9, 2.0])
    margin = dead_margins(network, params, rows().inputs)[0]
    np.testing.assert_array_equal(margin, [np.inf, 0, -np.inf, np.inf, -np.inf])
    np.testing.assert_array_equal(stays_dead(margin, 1e9), [True, False, False, True, False])


@pytest.mark.parametrize("size", [0.0, 0.3, 1.0, 3.0])
def test_units_said_to_stay_dead_are_dead_on_the_shifted_inputs(size, seed=7):
    network, params = killed(1, [])
    params[0]["bias"] = jnp.array([-1.0, -3.0, -5.0, -8.0, 1.0])
    old = rows(count=12).inputs
    new = old[:7] + size * jax.random.normal(jax.random.key(seed), (7, INPUTS)) / INPUTS
    margins = dead_margins(network, params, old)
    _, before = network.apply(params, old)
    _, after = network.apply(params, new)
    shifts = [hausdorff_shift(old, new), hausdorff_shift(before[0], after[0])]
    assert shifts[1] <= jnp.linalg.norm(params[0]["kernel"], 2) * shifts[0] + EXACT
    for margin, shift, features in zip(margins, shifts, after, strict=True):
        sure = stays_dead(margin, shift)
        assert jnp.all(jnp.where(sure[None], features, 0) == 0)


def test_weight_decay_never_moves_the_margin_of_a_first_layer_unit():
    network, params = killed(1, [(0, 1)])
    inputs = rows().inputs
    decayed = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    kept, before = (dead_margins(network, p, inputs)[0] for p in (decayed, params))
    np.testing.assert_allclose(kept, before, rtol=EXACT)
    params[0]["kernel"] = 0.1 * params[0]["kernel"]
    assert dead_margins(network, params, inputs)[0][1] > 5 * before[1]


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_the_hausdorff_shift_is_the_largest_distance_to_a_nearest_old_row(chunk):
    old, new = rows(1, 9).inputs, rows(2, 7).inputs
    pairs = np.linalg.norm(np.asarray(new)[:, None] - np.asarray(old)[None], axis=2)
    np.testing.assert_allclose(hausdorff_shift(old, new, chunk=chunk), pairs.min(1).max())
    assert hausdorff_shift(old, old[2:5], chunk=chunk) == 0
    assert hausdorff_shift(old[2:5], old, chunk=chunk) > 0


def test_dead_for_every_permutation_is_exact():
    kernel = jax.random.normal(jax.random.key(5), (INPUTS, 200))
    bias = jnp.linspace(-6.0, 0.0, 200)
    inputs = rows(count=3).inputs
    orders = jnp.array(list(permutations(range(INPUTS))))
    seen = jax.vmap(lambda order: jnp.max(inputs[:, order] @ kernel + bias[None], axis=0))(orders)
    found = dead_for_every_permutation(kernel, bias, inputs)
    np.testing.assert_array_equal(found, jnp.all(seen < 0, axis=0))
    lengths = jnp.linalg.norm(kernel, axis=0) * jnp.max(jnp.linalg.norm(inputs, axis=1))
    by_norms = bias < -lengths
    assert jnp.all(found | ~by_norms) and jnp.sum(found) > jnp.sum(by_norms) > 0


REFUSED = {
    "leaky": mlp(WIDTHS, activation="leaky-relu"),
    "gelu": mlp(WIDTHS, activation="gelu"),
    "normalised": mlp(WIDTHS, layer_norm=True),
}


@pytest.mark.parametrize("network", REFUSED.values(), ids=REFUSED)
def test_networks_whose_pre_activations_are_unknown_are_refused(network):
    params = network.init(jax.random.key(0))
    for measure in (dead_margins, alive_units, dead_unit_rank_bound):
        with pytest.raises(ValueError, match=r"plain (ReLU )?MLP.*neoteny\.networks\.mlp"):
            measure(network, params, rows().inputs)
        with pytest.raises(ValueError, match="plain"):
            jax.jit(lambda p, measure=measure: measure(network, p, rows().inputs))(params)


def test_other_matrices_and_other_parameters_are_refused():
    network, params = killed(0, [])
    with pytest.raises(ValueError, match='"hessian" or "ggn"'):
        dead_unit_rank_bound(network, params, rows().inputs, matrix="fisher")
    with pytest.raises(ValueError, match="its layers are in a dict"):
        dead_margins(network, {"kernel": params[0]["kernel"]}, rows().inputs)


def test_dead_units_are_measured_under_jit_and_vmap():
    network, params = killed(0, [(0, 1), (1, 2)])
    _, other = killed(3, [(0, 2)])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, other)
    bound = lambda p: dead_unit_rank_bound(network, p, rows().inputs)
    both = jax.jit(jax.vmap(bound))(stacked)
    np.testing.assert_array_equal(both, [bound(params), bound(other)])


def test_of_a_loss_without_curvature_there_is_no_quadratic_model():
    network, params = nonlinear()
    with pytest.raises(UserError, match="unhinged, whose Hessian"):
        linearise(network, params, rows(), loss="unhinged")
