"""What a person did that cannot work, said in one sentence they can act on."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LONGEST = 3000
"""Letters of a sentence: whose value is longer than that, its beginning and end say which it is."""


class UserError(ValueError):
    """Bad input: the message names the argument, its value, what is possible and what to type.

    Values and names may be anybody's, so it is made one line that a terminal shows as it stands.
    """

    def __init__(self, sentence: str):
        line = printable(" ".join(sentence.split()))
        gap = len(line) - LONGEST
        super().__init__(line if gap <= 0 else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}")


def printable(text: str) -> str:
    """`text` with escapes for what is no sign: control characters, halves of pairs, turnings."""
    if text.isprintable():
        return text
    escaped = lambda sign: sign.encode("unicode_escape", "surrogatepass").decode("ascii")
    return "".join(sign if sign.isprintable() else escaped(sign) for sign in text)


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
