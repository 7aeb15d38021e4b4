"""A process lets go of compiled programs before the system refuses it another."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import tiny
from neoteny import loop, programs, sweep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has the limit")


def _maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.fixture
def grown():
    """Functions of this process, each with its program."""
    before = _maps()
    functions = [jax.jit(lambda values, by=by: jnp.sin(values) @ values + by) for by in range(20)]
    for function in functions:
        function(jnp.ones((3, 3)))
    assert _maps() >= before + len(functions)
    return functions


def test_programs_are_let_go_only_near_the_limit(grown, monkeypatch):
    functions, full = grown, _maps()
    monkeypatch.setattr(programs, "SHARE", 1.0)
    assert not programs.make_room()
    assert all(function._cache_size() == 1 for function in functions)
    monkeypatch.setattr(programs, "SHARE", 0.0)
    assert programs.make_room()
    assert not any(function._cache_size() for function in functions)
    assert _maps() <= full - len(functions)
    assert functions[1](jnp.ones((3, 3))).shape == (3, 3)


@pytest.mark.parametrize("together", [False, True], ids=["alone", "together"])
def test_a_run_begins_with_room(grown, monkeypatch, tmp_path, together):
    monkeypatch.setattr(programs, "SHARE", 0.0)
    plain = {"probes__spectrum_every": 0, "probes__fresh_every": 0, "probes__names": []}
    runs = sweep.expand(tiny.study(methods=["bp"], seeds=1, **plain))
    if together:
        loop.run_together(runs, [tmp_path])
    else:
        loop.run(runs[0], tmp_path)
    assert not any(function._cache_size() for function in grown)
