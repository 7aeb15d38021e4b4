"""What a person did that cannot work, said in one sentence they can act on."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class UserError(ValueError):
    """Bad input: the message names the argument, its value, what is possible and what to type."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among `known`: suggests the nearest, lists the rest."""
    options = list(known)
    near = get_close_matches(name.lower(), options, n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return UserError(f"There is no {kind} `{name}`.{hint} There are: {', '.join(options)}.")


def of_kind(field: str, value: Any, default: Any) -> Any:
    """`value`, which must be of the kind of `default`; a whole number may stand for a float."""
    kind = type(default)
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or isinstance(value, bool) != (kind is bool):
        raise UserError(f"`{field}` is {value!r}, but takes a {kind.__name__} such as {default!r}.")
    return kind(value)
