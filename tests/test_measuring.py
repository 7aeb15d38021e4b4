"""What a run's table says of a spectrum, on matrices whose eigenvalues are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import curvature, measuring
from neoteny.config import ProbesConfig, Setting
from neoteny.losses import cross_entropy, squared_error, task_loss
from neoteny.networks import mlp
from neoteny.types import Batch

SIZE = 300


def _arrays(eigenvalues, steps):
    """The tridiagonal forms of a diagonal matrix, as a run stores them."""
    diagonal = jnp.asarray(eigenvalues)
    operator = curvature.Operator(lambda v: diagonal * v, SIZE, diagonal.dtype)
    alphas, betas = curvature.operator_coefficients(
        operator, jax.random.key(0), num_steps=steps, num_probes=6
    )
    return {"alphas": np.asarray(alphas), "betas": np.asarray(betas), "size": SIZE}


def _row(eigenvalues, steps=30, epsilon=1e-2):
    setting = Setting(probes=ProbesConfig(epsilon=epsilon))
    return measuring.columns("ggn", "start", _arrays(eigenvalues, steps), setting, steps=100)


def test_a_count_with_a_gap_below_it_is_right():
    row = _row(np.r_[np.geomspace(0.1, 5, 40), np.zeros(SIZE - 40)])
    # random signs see a diagonal matrix without sampling error: what is left is the quadrature's
    assert row["ggn_rank_start"] == pytest.approx(40, abs=2)
    assert row["ggn_max_start"] == pytest.approx(5)
    assert row["ggn_min_start"] == pytest.approx(0, abs=1e-9)


def test_a_bulk_astride_the_threshold_is_not_counted():
    generator = np.random.default_rng(0)
    bulk = generator.normal(0, 0.01, SIZE - 10)
    row = _row(np.r_[np.linspace(1, 5, 10), bulk], steps=12)
    assert row["ggn_rank_start"] is None
    assert row["ggn_rank_start_se"] is None
    assert row["ggn_trace_start"] is not None


def test_a_bulk_that_few_nodes_all_put_beyond_the_threshold_is_not_counted_whole():
    # A node for each side of the bulk, both beyond a threshold that a tenth of it is within.
    bulk = np.random.default_rng(0).normal(0, 0.1, SIZE - 1)
    row = _row(np.r_[50.0, bulk], steps=4)
    assert row["ggn_rank_start"] is None


def test_an_effective_rank_that_fewer_steps_would_give_otherwise_is_not_told():
    bulk = np.r_[np.geomspace(1, 5, 20), np.random.default_rng(0).normal(0, 0.3, SIZE - 20)]
    assert _row(bulk, steps=6)["ggn_effective_rank_start"] is None
    told = _row(bulk, steps=60)["ggn_effective_rank_start"]
    shares = np.abs(bulk) / np.abs(bulk).sum()
    assert told == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=0.02)


def test_a_zero_matrix_has_rank_zero():
    row = _row(np.zeros(SIZE))
    assert row["ggn_rank_start"] == row["ggn_effective_rank_start"] == 0


def test_the_budget_rank_counts_above_one_over_rate_times_steps():
    # learning rate 0.01 and 100 steps: threshold 1
    row = _row(np.r_[np.full(5, 3.0), np.full(20, 0.5), np.zeros(SIZE - 25)])
    assert row["ggn_budget_rank_start"] == pytest.approx(5)


def test_both_matrices_are_measured_and_the_ggn_only_of_cross_entropy(key):
    network = mlp((4, 5, 3))
    plan = ProbesConfig(spectrum_steps=100, spectrum_probes=2)
    batch = Batch(jax.random.normal(key, (12, 4)), jnp.arange(12, dtype=jnp.int32) % 3)
    params = network.init(key)
    matrices = measuring.tridiagonalisers(network, cross_entropy, plan)
    found = measuring.spectra(matrices, params, batch, key, rows=7)
    assert set(found) == {"hessian", "ggn"}
    assert set(measuring.tridiagonalisers(network, squared_error, plan)) == {"hessian"}
    few = jax.tree.map(lambda array: array[:7], batch)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    dense = jax.hessian(lambda v: task_loss(network, cross_entropy, few)(unravel(v)))(flat)
    exact = np.linalg.eigvalsh(np.asarray(dense))
    assert found["hessian"]["nodes"].max() == pytest.approx(exact[-1], rel=1e-6)
    assert found["hessian"]["nodes"].min() == pytest.approx(exact[0], rel=1e-6)
    assert found["ggn"]["nodes"].min() > -1e-9
    assert found["ggn"]["size"] == flat.size
