"""Where trials are kept: a database that several processes may share, reached through Optuna."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoteny.api import without_password
from neoteny.errors import UserError
from neoteny.tuning.plan import alone

if TYPE_CHECKING:
    import optuna

PATIENCE = 60
"""Seconds to wait for a database that others are writing to."""


def require() -> None:
    """Refuse to tune without what tuning needs.

    **Raises:** `UserError` where Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError(
            "Tuning needs Optuna, which is not installed: `pip install 'neoteny[tune]'`."
        ) from None


@contextmanager
def connected(url: str | None, folder: Path) -> "Iterator[optuna.storages.RDBStorage]":
    """The storage at `url`, or beside `folder`; while it is open its troubles are one sentence.

    **Raises:** `UserError` if it cannot be reached, used or understood.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    file, before = folder.parent / "tuning.db", optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    try:
        with alone(folder):  # two that make the same tables would collide
            storage = _opened(url, file)
        yield storage
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        said = _said(error, url)
        held = "locked" in said
        hint = "Another program holds it: close that" if held else "See that it lets you in"
        raise UserError(
            f"The storage {_shown(url, file)} cannot be used: {said}. {hint}; the same command "
            "continues."
        ) from None
    finally:
        optuna.logging.set_verbosity(before)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _opened(url: str | None, file: Path) -> "optuna.storages.RDBStorage":
    import optuna
    from sqlalchemy.exc import ArgumentError

    try:
        return optuna.storages.RDBStorage(_address(url, file), _options(url))
    except ImportError as error:
        raise UserError(
            f"The storage {_shown(url, file)} needs a driver: {_said(error, url)}. For PostgreSQL "
            "`pip install 'neoteny[tune]'`."
        ) from None
    except ArgumentError as error:
        raise UserError(
            f"`storage` is {_shown(url, file)}: {_said(error, url)}. It takes a URL, as "
            "`postgresql://USER@HOST/DATABASE`; leave it out for a file in the folder."
        ) from None


def _shown(url: str | None, file: Path) -> str:
    return f"`{file if url is None else without_password(url)}`"


def _address(url: str | None, file: Path) -> str:
    if url is None:
        return f"sqlite:///{file}"
    kind, separator, rest = url.partition("://")
    known = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    return known.get(kind, kind) + separator + rest


def _options(url: str | None) -> dict[str, Any]:
    if url is None or url.startswith("sqlite"):
        return {"connect_args": {"timeout": PATIENCE}}
    if url.startswith("postgres"):
        return {"connect_args": {"connect_timeout": 10}, "pool_pre_ping": True}
    return {"pool_pre_ping": True}


def _said(error: BaseException, url: str | None) -> str:
    """What the database itself said, in one line, with no password in it."""
    origin = error
    while origin.__cause__ is not None:
        origin = origin.__cause__
    told = " ".join(str(getattr(origin, "orig", None) or origin).split()).rstrip(".")
    if url is not None:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            secret = make_url(url).password
        except ArgumentError:
            secret = None
        told = told.replace(url, without_password(url))
        told = told.replace(secret, "***") if secret else told
    return told


def study_of(storage: "optuna.storages.RDBStorage", name: str, identity: str) -> "optuna.Study":
    """The Optuna study called `name`, of the tuning in the folder with this id.

    **Raises:** `UserError` if it belongs to another folder.
    """
    import optuna

    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True
    )
    known = study.user_attrs.get("folder")
    if known is None:
        study.set_user_attr("folder", identity)
    elif known != identity:
        raise UserError(
            f"The storage has a tuning called `{name.split('/')[0]}` that lies in another folder. "
            "Pass its `--out` to share its work, or another name: `--set name=NAME`."
        )
    return study
