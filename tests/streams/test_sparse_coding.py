"""Sparse combinations of known features, and the data set of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import streams
from neoteny.errors import UserError


def test_the_dictionary_is_orthonormal_and_always_the_same():
    features = np.asarray(streams.dictionary(30))
    np.testing.assert_allclose(features.T @ features, np.eye(30), atol=1e-6)
    np.testing.assert_array_equal(features, streams.dictionary(30))
    assert np.abs(features).max() < 0.9  # no feature is an input


@pytest.mark.parametrize("active", [1, 3, 5])
def test_rows_have_so_many_features_and_the_class_of_their_sum(key, active):
    features, readout = streams.dictionary(20), jnp.ones(20, jnp.float32)
    rows = streams.sparse_code(key, 500, features, readout, active=active, noise=0.0)
    z = np.asarray(rows.inputs @ features)
    np.testing.assert_allclose(np.sort(np.abs(z), 1)[:, -active:], 1, atol=1e-5)
    assert np.all((np.abs(z) > 0.5).sum(1) == active)
    np.testing.assert_array_equal(rows.labels, z.sum(1) > 0)
    used = (np.abs(z) > 0.5).mean(0)
    assert np.all(np.abs(used - active / 20) < 5 * np.sqrt(active / 20 / 500))


def test_the_class_goes_by_the_readout_and_noise_by_its_deviation(key):
    features, readout = streams.dictionary(20), jnp.arange(20.0, dtype=jnp.float32) - 7.3
    plain = streams.sparse_code(key, 2000, features, readout, noise=0.0)
    noisy = streams.sparse_code(key, 2000, features, readout, noise=0.2)
    np.testing.assert_array_equal(plain.labels, plain.inputs @ features @ readout > 0)
    np.testing.assert_array_equal(plain.labels, noisy.labels)
    assert np.std(noisy.inputs - plain.inputs) == pytest.approx(0.2, rel=0.02)
    with pytest.raises(UserError, match="active"):
        streams.sparse_code(key, 10, features, readout, active=21)


def test_the_data_set_needs_no_files_and_is_always_the_same():
    data = streams.load("sparse-coding")
    assert data.train.inputs.shape == (4000, 100) and data.heldout.inputs.shape == (1000, 100)
    assert data.train.inputs.dtype == jnp.float32 and data.train.labels.dtype == jnp.int32
    np.testing.assert_array_equal(data.train.inputs, streams.load("sparse-coding").train.inputs)
    assert 0.45 < float(data.train.labels.mean()) < 0.55 and data.num_classes == 2
    codes = np.asarray(data.heldout.inputs @ streams.dictionary(100))
    np.testing.assert_array_equal(np.sum(codes * (np.abs(codes) > 0.5), 1) > 0, data.heldout.labels)
    assert streams.locate("sparse-coding") == "drawn"
