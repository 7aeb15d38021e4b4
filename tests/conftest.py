"""Every test runs in float64, with shapes checked and silent broadcasting refused.

Most of the time of these tests is compilation, so code is compiled without most optimisations, in
processes that they start too; `JAX_DISABLE_MOST_OPTIMIZATIONS=0 make test` has them all. Processes
that share the tests keep to their share of the cores, so that none compiles on another's.
"""

import os
import re
import sys
from types import SimpleNamespace

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # JAX reads it when imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or its threads wait for each other on a core

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores, place = sorted(os.sched_getaffinity(0)), int(worker.removeprefix("gw"))
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, cores[place::count] or cores[place % len(cores) :][:1])

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

install_import_hook("neoteny", "beartype.beartype")

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="module", autouse=True)
def room():
    """No process runs out of memory maps, however many modules it has tested."""
    from neoteny import programs

    programs.make_room()


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A folder that the processes of this test session share: code once compiled, caches."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def compiled_once(scratch):
    """Programs met again in this module, or in another that asks for this, are not recompiled."""
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(scratch / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def call(monkeypatch, capsys, scratch, tmp_path):
    """Run the command line in this process; its exit status and what it printed."""
    import tiny
    from neoteny import cli

    for name, value in tiny.environment(scratch).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    monkeypatch.delenv("COLUMNS", raising=False)  # which other people's packages set
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["neoteny", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        assert not CONTROL.search(out + err)
        return SimpleNamespace(code=code, out=out, err=err)

    return call
