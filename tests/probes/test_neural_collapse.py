"""Collapsed features are told from others, by loops over rows and classes and by an exact frame."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.networks import equiangular, mlp
from neoteny.probes import class_geometry, neural_collapse
from neoteny.types import Batch, Snapshot

CLASSES, UNITS = 4, 6


def looped(features, labels, weights):
    """The four numbers, class by class and row by row."""
    present = sorted(set(labels.tolist()))
    means = {c: features[labels == c].mean(0) for c in present}
    centre = np.mean(list(means.values()), axis=0)
    centred = {c: means[c] - centre for c in present}
    within = np.mean(
        [np.sum((h - means[int(c)]) ** 2) for h, c in zip(features, labels, strict=True)]
    )
    lengths = np.array([np.linalg.norm(centred[c]) for c in present])
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    gaps = [
        abs(cosine(centred[a], centred[b]) + 1 / (len(present) - 1))
        for a, b in combinations(present, 2)
    ]
    own = np.stack([weights[:, c] for c in present])
    dual = cosine((own - own.mean(0)).ravel(), np.concatenate([centred[c] for c in present]))
    return within / np.mean(lengths**2), max(gaps), lengths.std() / lengths.mean(), dual


@pytest.mark.parametrize("present", [[0, 1, 2, 3], [0, 2, 3]], ids=["all", "one is missing"])
def test_the_geometry_is_that_of_loops_over_the_classes_that_have_rows(present):
    rng = np.random.default_rng(0)
    labels = rng.choice(present, 30)
    features, weights = rng.normal(size=(30, UNITS)), rng.normal(size=(UNITS, CLASSES))
    found = class_geometry(jnp.array(features), jnp.array(labels), jnp.array(weights))
    np.testing.assert_allclose(found, looped(features, labels, weights), rtol=1e-12)


def test_an_equiangular_tight_frame_is_a_full_collapse_at_any_scale_and_place():
    frame = equiangular(UNITS, CLASSES)
    labels = jnp.arange(12) % CLASSES
    features = 7 * frame.T[labels] + 3.0
    found = class_geometry(features, labels, 0.1 * frame)
    np.testing.assert_allclose(found, (0, 0, 0, 1), atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=["one class", "one point"])
def test_with_one_class_or_one_point_there_is_nothing_to_compare(labels):
    found = class_geometry(jnp.ones((3, UNITS)), jnp.array(labels), jnp.ones((UNITS, CLASSES)))
    assert np.isnan(found).all()


def seen(network, labels, key):
    batch = Batch(jax.random.normal(key, (len(labels), 5)), labels)
    params = network.init(key)
    return Snapshot(network, batch, params, params, lambda params: jnp.zeros(()), key)


def test_the_probe_reads_the_head_of_the_network_and_no_other_matrix_of_its_shape(key):
    labels = jnp.arange(9) % CLASSES
    trained = seen(mlp((5, CLASSES, CLASSES, CLASSES)), labels, key)
    _, features = trained.network.apply(trained.params, trained.batch.inputs)
    expected = class_geometry(features[-1], labels, trained.params[-1]["kernel"])
    np.testing.assert_array_equal(neural_collapse(trained), expected)
    fixed = neural_collapse(seen(mlp((5, CLASSES, CLASSES, CLASSES), fixed_head=True), labels, key))
    assert np.isnan(fixed.self_duality) and np.isfinite(fixed[:3]).all()


def test_regression_has_no_classes_to_collapse(key):
    assert np.isnan(neural_collapse(seen(mlp((5, UNITS, 1)), jnp.linspace(0.0, 1, 9), key))).all()
