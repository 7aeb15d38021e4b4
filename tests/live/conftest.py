"""What tests of the live page share."""

import pytest


@pytest.fixture
def impatient(monkeypatch):
    """The folder is looked at for every question."""
    monkeypatch.setattr("neoteny.live.board.EVERY", 0.0)
    monkeypatch.setattr("neoteny.live.board.TIMES", 0.0)
