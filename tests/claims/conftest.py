import pytest

from neoteny import claims


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """The folder of a claim at its smallest size, measured once for all tests."""
    folders = {}

    def measured(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            outcomes = claims.run(claims.load(name), folders[name], scale="smoke")
            failed = [outcome.reason for outcome in outcomes if outcome.status != "finished"]
            assert failed == []
        return folders[name]

    return measured
