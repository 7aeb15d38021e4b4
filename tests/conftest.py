"""Every test runs in float64, with shapes checked and silent broadcasting refused."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

install_import_hook("neoteny", "beartype.beartype")


@pytest.fixture
def key():
    return jax.random.key(0)
