import subprocess

import pytest

import tiny


@pytest.fixture(scope="session")
def measured(tmp_path_factory, scratch):
    """The folder of a claim at its smallest size, measured once for all tests, as users have it."""
    folders = {}

    def measured(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            command = tiny.command("run", name, "--scale", "smoke", "--jobs", 1)
            plain = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
            done = subprocess.run(
                [*map(str, command), "--out", str(folders[name])],
                env=tiny.environment(scratch, **plain),
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
        return folders[name]

    return measured
