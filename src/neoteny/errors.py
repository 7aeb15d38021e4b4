"""What a person did that cannot work, said in one sentence they can act on."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Bad input: the message names the argument, its value, what is possible and what to type."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among `known`: suggests the nearest, lists the rest."""
    options = list(known)
    near = get_close_matches(name.lower(), options, n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return UserError(f"There is no {kind} `{name}`.{hint} There are: {', '.join(options)}.")
