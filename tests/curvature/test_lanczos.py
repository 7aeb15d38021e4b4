"""Lanczos: the matrix it sees, orthogonality where it is hard, and when it stops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.curvature import lanczos

SIZE = 40
ROUNDING = 1e-12  # in float64, relative to matrices of norm one


@partial(jax.jit, static_argnames="num_steps")
def run(matrix, start, num_steps):
    return lanczos(lambda vector: matrix @ vector, start, num_steps)


@partial(jax.jit, static_argnames="num_steps")
def run_diagonal(diagonal, start, num_steps):
    return lanczos(lambda vector: diagonal * vector, start, num_steps)


def with_eigenvalues(values, key, dtype=jnp.float64):
    rotation = jnp.linalg.qr(jax.random.normal(key, (len(values), len(values))))[0]
    return ((rotation * values[None]) @ rotation.T).astype(dtype)


def tridiagonal(result):
    couplings = result.betas[:-1]
    return jnp.diag(result.alphas) + jnp.diag(couplings, 1) + jnp.diag(couplings, -1)


def departure(basis):
    basis = np.asarray(basis, np.float64)
    return np.max(np.abs(basis @ basis.T - np.eye(len(basis))))


@pytest.mark.parametrize("steps", [1, 2, 9, SIZE])
def test_the_basis_is_orthonormal_and_turns_the_matrix_tridiagonal(key, steps):
    matrix = with_eigenvalues(jnp.linspace(-1, 1, SIZE), key)
    result = run(matrix, jnp.ones(SIZE), steps)
    assert departure(result.basis) < ROUNDING
    seen = result.basis @ matrix @ result.basis.T
    np.testing.assert_allclose(seen, tridiagonal(result), rtol=0, atol=ROUNDING)
    assert result.taken == steps


def test_the_last_beta_is_the_norm_of_what_is_left_over(key):
    matrix = with_eigenvalues(jnp.linspace(-1, 1, SIZE), key)
    result = run(matrix, jnp.ones(SIZE), 9)
    left = matrix @ result.basis.T - result.basis.T @ tridiagonal(result)
    np.testing.assert_allclose(jnp.linalg.norm(left), result.betas[-1], rtol=1e-9)


OUTLIERS = np.asarray([1.0, 3.0, 10.0, 30.0, 100.0], np.float32)


@jax.jit
def run_outliers(bulk, directions, start):
    """A bulk near zero, and outliers whose products are good to three digits alone."""

    def matvec(vector):
        rough = directions.astype(jnp.bfloat16) @ vector.astype(jnp.bfloat16)
        return bulk * vector + (OUTLIERS * rough.astype(vector.dtype)) @ directions

    return lanczos(matvec, start, 30)


def test_float32_stays_orthogonal_on_a_bulk_near_zero_with_outliers_and_rough_products(key):
    # The outliers converge first, and the error of each product then pulls every new vector
    # back to them: with no orthogonalisation 0.99 is lost, with one pass 1e-4, with two 4e-7.
    bulk = 3e-4 * jax.random.normal(key, (1000,), jnp.float32)
    directions = jnp.linalg.qr(jax.random.normal(jax.random.key(3), (1000, 5), jnp.float32))[0].T
    start = jax.random.rademacher(jax.random.key(1), (1000,), jnp.float32)
    result = run_outliers(bulk, directions, start)
    assert result.taken == 30
    assert departure(result.basis) < 1e-5


def test_float32_stays_orthogonal_over_more_entries_than_a_plain_sum_can_bear(key):
    # One long sum over these equal terms would err by 1e-4, and so would the basis.
    size, steps = 1_000_000, 8
    diagonal = jnp.linspace(-1, 1, size, dtype=jnp.float32)
    result = run_diagonal(diagonal, jnp.ones(size, jnp.float32), steps)
    assert departure(result.basis) < 2e-6


def test_a_basis_too_large_for_the_cache_is_as_good_though_kept_in_blocks(key):
    diagonal = jnp.linspace(-1e-3, 1e-3, 200_000).at[-5:].set(jnp.arange(1.0, 6.0))
    start = jax.random.rademacher(key, (200_000,), jnp.float64)
    result = run_diagonal(diagonal, start, 23)
    assert departure(result.basis) < ROUNDING
    seen = (result.basis * diagonal[None]) @ result.basis.T
    np.testing.assert_allclose(seen, tridiagonal(result), rtol=0, atol=ROUNDING)


FIELD = np.r_[np.logspace(-2, 2, 30), 3e-4 * np.random.default_rng(0).normal(size=19_970)]


@partial(jax.jit, static_argnames=("basis", "steps"))
def run_field(start, basis, steps=100):
    """The spectrum of a trained network: outliers that converge early, and a bulk around zero."""
    diagonal = jnp.asarray(FIELD, jnp.float32)
    return lanczos(lambda vector: diagonal * vector, start, steps, basis=basis)


def random_signs(size):
    return jax.random.rademacher(jax.random.key(1), (size,), jnp.float32)


def test_a_basis_of_half_the_memory_stays_orthogonal_long_after_the_outliers_have_converged():
    # In bfloat16 new vectors are soon no longer new, and eigenvalues of 1e14 turn up.
    result = run_field(random_signs(len(FIELD)), "half")
    assert departure(result.basis) < 1e-3
    found = np.linalg.eigvalsh(np.asarray(tridiagonal(result), np.float64))
    np.testing.assert_allclose(found[-20:], np.sort(FIELD)[-20:], rtol=0, atol=1e-4 * 100)


def test_a_basis_in_float16_and_one_of_none_need_less_memory():
    size = 200_000
    start = jnp.ones(size, jnp.float32)

    def held(basis):
        run = lambda start: lanczos(lambda v: start * v, start, 64, basis=basis)[:2]
        return jax.jit(run).lower(start).compile().memory_analysis().temp_size_in_bytes

    full, half, none = map(held, ("full", "half", "none"))
    assert full > 64 * size * 4
    assert half < 0.7 * full
    assert none < 0.2 * full


def test_without_a_basis_converged_eigenvalues_come_back_as_copies_and_the_trace_stays():
    start = random_signs(len(FIELD))
    full, none = run_field(start, "full"), run_field(start, "none")
    assert none.basis.shape == (0, len(FIELD))
    top = lambda result: np.sum(np.linalg.eigvalsh(np.asarray(tridiagonal(result))) > 99)
    assert top(full) == 1
    assert top(none) > 5
    np.testing.assert_allclose(none.alphas[0], np.mean(FIELD), rtol=1e-5)
    np.testing.assert_allclose(none.alphas[:4], full.alphas[:4], rtol=1e-4)


def test_another_form_of_the_basis_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"no basis `float16`.*full, half, none"):
        lanczos(lambda vector: vector, jnp.ones(SIZE), 3, basis="float16")


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        (np.zeros(SIZE), 1),
        (np.ones(SIZE), 1),
        (np.r_[np.zeros(SIZE - 1), 5.0], 2),
        (np.r_[np.zeros(SIZE - 5), 1.0, 2.0, 3.0, -4.0, 5.0], 6),
        (np.r_[np.zeros(SIZE - 6), 1.0, 1.0, 1.0, 2.0, 2.0, 2.0], 3),
    ],
    ids=["zero", "identity", "rank one", "rank five", "two values thrice"],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e10])
def test_it_takes_as_many_steps_as_there_are_distinct_eigenvalues(key, values, steps, dtype, scale):
    matrix = with_eigenvalues(jnp.asarray(scale * values), key, dtype)
    start = jax.random.rademacher(key, (SIZE,), dtype)
    result = run(matrix, start, 20)
    # Rounding makes a dense float32 zero eigenvalue a small one; a step or two may see it.
    assert steps <= result.taken <= steps + (2 if steps > 1 else 0)
    taken = int(result.taken)
    for padded in (result.alphas[taken:], result.betas[taken - 1 :], result.basis[taken:]):
        np.testing.assert_array_equal(padded, 0)


def test_no_product_is_computed_once_it_has_stopped():
    calls = []

    def matvec(vector):
        jax.debug.callback(lambda: calls.append(None))
        return 2 * vector

    jax.block_until_ready(jax.jit(lambda s: lanczos(matvec, s, 10))(jnp.ones(SIZE)))
    jax.effects_barrier()
    assert len(calls) == 1


def test_a_batch_of_starts_agrees_with_one_after_the_other(key):
    matrix = with_eigenvalues(jnp.linspace(-1, 1, SIZE).at[:30].set(0), key)
    starts = jax.random.normal(key, (3, SIZE))
    probe = lambda start: lanczos(lambda v: matrix @ v, start, 15)
    mapped, batched = jax.lax.map(probe, starts), jax.vmap(probe)(starts)
    np.testing.assert_array_equal(mapped.taken, batched.taken)
    np.testing.assert_allclose(mapped.alphas, batched.alphas, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [0, SIZE + 1])
def test_impossible_depths_are_refused_with_the_possible_ones(steps):
    with pytest.raises(ValueError, match=f"`num_steps` is {steps}.*40 x 40.*num_steps=40"):
        lanczos(lambda vector: vector, jnp.ones(SIZE), steps)
