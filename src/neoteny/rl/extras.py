"""Packages that only some environments need."""

from importlib import import_module
from typing import Any

from neoteny.errors import UserError


def needed(package: str, environment: str) -> Any:
    """The package, or a `UserError` that says what needs it and how to install it."""
    try:
        return import_module(package)
    except ImportError as missing:
        raise UserError(
            f"`{environment}` needs {package}, which cannot be imported ({missing}). Install it "
            'with `pip install "neoteny[rl]"`.'
        ) from missing
