"""Which classes of a published data set belong together: facts that its arrays do not carry."""

from neoteny.streams.files import DataError

# Characters of each alphabet, in the order of the author's numbers: 30 alphabets to learn
# from, then 20 to be tested on (Lake, Salakhutdinov & Tenenbaum, 2015).
_OMNIGLOT = (
    *(26, 41, 40, 24, 46, 14, 26, 33, 22, 23, 29, 26, 43, 24, 48),
    *(22, 52, 16, 40, 47, 40, 26, 20, 41, 34, 33, 14, 42, 17, 55),
    *(20, 26, 26, 26, 26, 26, 45, 45, 41, 26, 47, 40, 30, 45, 46, 23, 28, 25, 42, 26),
)

# The superclass of each class, both in alphabetical order (Krizhevsky, 2009).
_CIFAR100 = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
    *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
    *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
    *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
    *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)

GROUPS: dict[str, tuple[int, ...]] = {
    "omniglot": tuple(group for group, size in enumerate(_OMNIGLOT) for _ in range(size)),
    "cifar100": _CIFAR100,
}
"""Of each class its group: Omniglot's 50 alphabets, CIFAR-100's 20 superclasses."""


def of(name: str, num_classes: int, found: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
    """The groups that came with the data, else those known of `name`, else `None`.

    **Raises:** `DataError` if those found are not one number from 0 up for each class.
    """
    if found is None:
        known = GROUPS.get(name)
        return known if known is not None and len(known) == num_classes else None
    if len(found) != num_classes or set(found) != set(range(max(found) + 1)):
        raise DataError(
            f"`groups` of {name} has {len(found)} entries, the groups {_few(found)}, but it must "
            f"give each of the {num_classes} classes a group, and use every number from 0 up. "
            "Write it anew, or leave it out."
        )
    return found


def _few(found: tuple[int, ...]) -> str:
    distinct = sorted(set(found))
    return ", ".join(map(str, distinct[:8])) + (", ..." if len(distinct) > 8 else "")
