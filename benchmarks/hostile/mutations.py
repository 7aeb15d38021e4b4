"""How valid bytes, texts and documents are spoilt: the tricks that all formats share."""

import json
import struct
from random import Random
from typing import Any

NUMBERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**63))
"""Edges of lengths, counts and offsets."""

TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "../../../escaped",
    "/tmp/escaped",
    "~/escaped",
    "'; DROP TABLE tasks; --",
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;title\x07",
    "\ud800",
    "\u202egnp.exe",
    "é" * 300,
    "x" * 100_000,
    "%s%n{}",
    "${jndi:x}",
    "NaN",
    "1e999",
    "9" * 5000,
    "[" * 3000,
    "a." * 3000 + "a",
    "\n[x]\ny = 1",
    '"""',
    "folder:/etc@64",
)


def spoilt(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """`data` after a few small accidents; now and then a piece of one of the `others`."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        random.choice(_ACCIDENTS)(random, changed, others)
    return bytes(changed)


def _flip(random: Random, data: bytearray, others: list[bytes]) -> None:
    for _ in range(random.choice((1, 1, 4, 32))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _truncate(random: Random, data: bytearray, others: list[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


def _cut(random: Random, data: bytearray, others: list[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.choice((1, 4, 16, 256))]


def _repeat(random: Random, data: bytearray, others: list[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    piece = data[start : start + random.choice((1, 8, 64, 1024))]
    data[start:start] = piece * random.choice((1, 2, 50))


def _splice(random: Random, data: bytearray, others: list[bytes]) -> None:
    other = random.choice(others)
    start, place = random.randrange(len(other) + 1), random.randrange(len(data) + 1)
    data[place : place + random.choice((0, 64, 10**9))] = other[start : start + 4096]


def _number(random: Random, data: bytearray, others: list[bytes]) -> None:
    """A field of some width, set to an edge: what lengths and offsets are."""
    form = random.choice(["<H", ">H", "<I", ">I", "<Q", ">Q", "<d"])
    size = struct.calcsize(form)
    if len(data) < size:
        return
    place = random.choice((0, len(data) - size, random.randrange(len(data) - size + 1)))
    value = random.choice(NUMBERS) + random.choice((-1, 0, 0, 1))
    whole = float(value) if form == "<d" else value % 256**size
    data[place : place + size] = struct.pack(form, whole)


def _bytes(random: Random, data: bytearray, others: list[bytes]) -> None:
    place = random.randrange(len(data) + 1)
    data[place:place] = random.choice((b"\0", b"\xff\xfe", b"\xc0\x80", b"\n" * 50, b"\xf0\x9f"))


_ACCIDENTS = (_flip, _flip, _truncate, _cut, _repeat, _splice, _number, _number, _bytes)


def value(random: Random, depth: int = 0) -> Any:
    """Something that a JSON or TOML document could hold, and should not."""
    kind = random.randrange(10 if depth < 3 else 7)
    if kind <= 2:
        return random.choice(TEXTS)
    if kind <= 4:
        return random.choice((*NUMBERS, 10**25, 10**400, random.randrange(-9, 300)))
    if kind == 5:
        return random.choice((0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"), 5e-324))
    if kind == 6:
        return random.choice((True, False, None))
    if kind == 7:
        return nested(random.choice((3, 60, 400, 990, 5000)))
    if kind == 8:
        return [value(random, depth + 1) for _ in range(random.choice((0, 1, 3, 40)))]
    names = (random.choice((*TEXTS[:18], "seed", "tasks", "name")) for _ in range(4))
    return {name: value(random, depth + 1) for name in names}


class _Deep(list):
    """So many brackets, as a document has them; too deep to be built."""


def nested(depth: int) -> Any:
    return _Deep([depth])


def document(random: Random, sound: Any) -> Any:
    """A valid document with some of its parts replaced, removed, added or moved."""
    changed = json.loads(json.dumps(sound))
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        place, parent = _somewhere(random, changed)
        if parent is None:
            changed = value(random) if random.random() < 0.3 else changed
        elif (choice := random.randrange(6)) == 0:
            del parent[place]
        elif choice == 1 and isinstance(parent, dict):
            parent[random.choice(TEXTS)] = value(random)
        elif choice == 2:
            parent[place] = json.loads(json.dumps(_somewhere(random, sound)[1] or []))
        else:
            parent[place] = value(random)
    return changed


def _somewhere(random: Random, whole: Any) -> tuple[Any, Any]:
    """A place in a document and the list or table that it is in."""
    place, parent, inner = None, None, whole
    while isinstance(inner, list | dict) and inner and not isinstance(inner, _Deep):
        place = random.choice([*inner] if isinstance(inner, dict) else range(len(inner)))
        parent, inner = inner, inner[place]
        if random.random() < 0.35:
            break
    return place, parent


def as_json(whole: Any) -> bytes:
    """As JSON, with names twice where they are, and brackets as deep as they are said to be."""
    return _written(whole, lambda name: json.dumps(name), ": ").encode("utf-8", "surrogatepass")


def as_toml(whole: dict) -> bytes:
    """As TOML of inline tables, which is the shortest way to write any document."""
    if not isinstance(whole, dict):
        return b"study = " + _inline(whole).encode("utf-8", "surrogatepass")
    lines = [f"{json.dumps(name)} = {_inline(one)}" for name, one in whole.items()]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _inline(one: Any) -> str:
    return _written(one, lambda name: json.dumps(name, ensure_ascii=False), " = ", toml=True)


def _written(one: Any, key: Any, equals: str, toml: bool = False) -> str:
    if isinstance(one, _Deep):
        return "[" * one[0] + "]" * one[0]
    inner = lambda part: _written(part, key, equals, toml)
    if isinstance(one, dict):
        return (
            "{" + ", ".join(f"{key(name)}{equals}{inner(part)}" for name, part in one.items()) + "}"
        )
    if isinstance(one, list):
        return "[" + ", ".join(map(inner, one)) + "]"
    if isinstance(one, int) and not isinstance(one, bool):
        return f"0x{one:x}" if toml and one > 10**30 else _long(one)
    if isinstance(one, float) and toml and one != one:
        return "nan"
    if isinstance(one, float) and toml and abs(one) == float("inf"):
        return "inf" if one > 0 else "-inf"
    return "''" if toml and one is None else json.dumps(one, ensure_ascii=isinstance(one, str))


def _long(number: int) -> str:
    return str(number) if abs(number) < 10**30 else f"1{'0' * 400}"
