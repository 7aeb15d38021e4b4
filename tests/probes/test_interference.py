"""The update matrix: the tangent kernel to first order, the identity in a table."""

import jax
import jax.numpy as jnp
import numpy as np

from neoteny.networks import mlp
from neoteny.probes import srank, update_matrix, update_spread

NETWORK = mlp((3, 8, 1), activation="tanh")


def test_to_first_order_it_is_the_tangent_kernel_with_its_columns_scaled(key):
    params = NETWORK.init(key)
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (7, 3))
    wanted = jax.random.normal(jax.random.fold_in(key, 2), (7,))
    outputs = lambda params: NETWORK.apply(params, inputs)[0][:, 0]
    losses = lambda params: (outputs(params) - wanted) ** 2
    slopes = jax.jacobian(outputs)(params)
    rows = np.concatenate([np.asarray(leaf).reshape(7, -1) for leaf in jax.tree.leaves(slopes)], 1)
    kernel = rows @ rows.T
    signs = -np.sign(np.asarray(outputs(params) - wanted))  # a step lowers its own loss
    expected = kernel / np.diag(kernel)[None] * signs[None]
    for size in (1e-4, 1e-5):  # and the rest falls with the step
        found = jax.jit(lambda params, size=size: update_matrix(outputs, losses, params, size))
        assert np.abs(found(params) - expected).max() < 3e3 * size
    np.testing.assert_allclose(np.abs(np.diag(found(params))), 1.0)


def test_in_a_table_no_row_moves_another_and_where_all_move_alike_the_rank_is_one():
    rows = jnp.arange(5)
    table = update_matrix(lambda v: v[rows], lambda v: (v[rows] - 1.0) ** 2, jnp.zeros(5), 0.1)
    np.testing.assert_allclose(table, np.eye(5))
    assert update_spread(table) == 0 and srank(table) == 5
    shared = update_matrix(
        lambda v: jnp.broadcast_to(v[:1], (5,)),
        lambda v: jnp.broadcast_to((v[:1] - 1.0) ** 2, (5,)),
        jnp.zeros(1),
        0.1,
    )
    np.testing.assert_allclose(shared, np.ones((5, 5)))
    assert update_spread(shared) == 1 and srank(shared) == 1


def test_a_step_that_changes_nothing_has_a_column_of_zeros():
    rows = jnp.arange(3)
    wanted = jnp.array([0.0, 1.0, 1.0])  # the first is learnt already
    found = update_matrix(lambda v: v[rows], lambda v: (v[rows] - wanted) ** 2, jnp.zeros(3), 0.1)
    np.testing.assert_allclose(found, np.diag([0.0, 1.0, 1.0]))
