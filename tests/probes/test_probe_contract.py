"""What every member of `PROBES` promises, and how its fields become columns."""

from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.probes import PROBES, columns
from neoteny.types import Batch, Network, Place, Snapshot, UnitGroup

WIDTHS = (6, 9, 7, 3)
LAYERS = len(WIDTHS) - 2


def apply(params, inputs):
    hidden, features = inputs, []
    for kernel, bias in params[:-1]:
        hidden = jax.nn.relu(hidden @ kernel + bias[None, :])
        features.append(hidden)
    return hidden @ params[-1][0] + params[-1][1][None, :], tuple(features)


def init(key):
    draw = lambda i, shape: jax.random.normal(jax.random.fold_in(key, i), shape)
    return tuple((draw(i, shape), jnp.zeros(shape[1])) for i, shape in enumerate(pairwise(WIDTHS)))


def group(i):
    incoming = (Place((i, 0), 1), Place((i, 1), 0))
    outgoing = (Place((i + 1, 0), 0),)
    return UnitGroup(f"hidden_{i}", WIDTHS[i + 1], incoming, outgoing, ((i + 1, 1),), (i, 1))


GROUPS = tuple(map(group, range(LAYERS)))


def snapshot(params, start):
    rows = jax.random.key(7)
    batch = Batch(jax.random.uniform(rows, (11, WIDTHS[0])), jnp.arange(11) % WIDTHS[-1])

    def loss(params):
        logits, _ = apply(params, batch.inputs)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        return jnp.mean(losses)

    key = jax.random.key(1)
    return Snapshot(Network(init, apply, GROUPS), batch, params, start, loss, key, 1e-3, 20)


def two_points(key):
    return init(key), init(jax.random.fold_in(key, 1))


@pytest.fixture(params=PROBES)
def probe(request):
    return PROBES[request.param]


def test_a_probe_returns_finite_scalars_or_one_entry_for_each_layer(probe, key):
    measured = jax.jit(lambda *points: probe(snapshot(*points)))(*two_points(key))
    for value in measured:
        assert value.shape in ((), (LAYERS,)) and value.dtype == jnp.float64
    assert all(type(cell) is float for cell in columns(measured).values())


def test_a_probe_agrees_with_itself_under_jit_and_vmap(probe, key):
    measure = lambda params, start: probe(snapshot(params, start))
    params, start = two_points(key)
    plain = [measure(params, start), jax.jit(measure)(start, params)]
    stack = lambda one, two: jax.tree.map(lambda *leaves: jnp.stack(leaves), one, two)
    batched = jax.vmap(jax.jit(measure))(stack(params, start), stack(start, params))
    jitted = jax.jit(measure)(params, start)
    for field, values in enumerate(batched):
        np.testing.assert_allclose(jitted[field], plain[0][field], rtol=1e-9)
        for value, expected in zip(values, plain, strict=True):
            np.testing.assert_allclose(value, expected[field], rtol=1e-9)


def test_a_probe_is_traced_once_for_all_values(probe, key):
    calls = []

    @jax.jit
    def measure(*points):
        calls.append(1)
        return probe(snapshot(*points))

    params, start = two_points(key)
    first = measure(params, start)
    second = measure(start, params)
    assert len(calls) == 1
    counted = all(np.all(np.mod(value, 1) == 0) for value in first)  # counts may agree
    assert counted or any(np.any(a != b) for a, b in zip(first, second, strict=True))


def test_a_probe_measures_every_layer_of_its_own(key):
    params, start = two_points(key)
    (kernel, bias), *rest = params
    quiet = ((kernel, bias - 100 * jnp.array([1.0, 1, 1] + [0] * 6)), *rest)
    table = columns(PROBES["units"](snapshot(quiet, start)))
    assert table["dead_1"] >= 3 / 9 > table["dead_2"]
    ranks = PROBES["ranks"](snapshot(quiet, start))
    _, features = apply(quiet, snapshot(quiet, start).batch.inputs)
    for layer, matrix in enumerate(features):
        assert ranks.srank[layer] <= np.linalg.matrix_rank(matrix)
        frobenius, largest = np.linalg.norm(matrix), np.linalg.norm(matrix, 2)
        np.testing.assert_allclose(ranks.stable_rank[layer], (frobenius / largest) ** 2)


class Measured(NamedTuple):
    size: object
    depth: object


def test_columns_name_scalars_by_field_and_vectors_by_their_mean_and_layers():
    table = columns(Measured(jnp.array(2.0), jnp.array([1.0, 4.0])))
    assert table == {"size": 2.0, "depth": 2.5, "depth_1": 1.0, "depth_2": 4.0}
    assert list(table) == ["size", "depth", "depth_1", "depth_2"]


def test_columns_hold_none_for_what_is_not_finite_or_not_there():
    table = columns(Measured(jnp.inf, jnp.array([1.0, jnp.nan])))
    assert table == {"size": None, "depth": None, "depth_1": 1.0, "depth_2": None}
    assert columns(Measured(0, jnp.zeros(0))) == {"size": 0.0, "depth": None}


def test_columns_refuse_a_matrix():
    with pytest.raises(ValueError, match=r"field `depth` of Measured has shape \(2, 2\)"):
        columns(Measured(1.0, jnp.ones((2, 2))))
