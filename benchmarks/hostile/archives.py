"""Archives and arrays that lie about themselves: zip, tar and npy files built by hand."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from random import Random
from typing import Any

from hostile.mutations import NUMBERS

NAMES = (
    "../../escaped",
    "/tmp/escaped",
    "a/../../escaped",
    "C:\\escaped",
    "x" * 5000,
    "",
    "\0",
    "é",
)


_SHAPES = (
    "(4000000000, 4000000000)", "(-1,)", "(-2, -3)", "(1099511627776,)", "(True,)", "(1.5,)", "()",
    "(0, 4611686018427387904)", "5", "None", "(" + "1," * 70 + ")", "(2**40,)", f"(1{'0' * 300},)",
    "__import__('os').mkdir('x')", "(" * 60 + "1" + ",)" * 60,
)  # fmt: skip

_DTYPES = (
    "'<f4'", "'|O'", "'|V8'", "'|S0'", "'<U1000000000'", "'<M8[ns]'", "[('a', '|O')]", "'x'", "5",
    "[('a', '<f8', (1000000, 1000000))]", "'|u1'", "'<i8'", "'|b1'", "'<c16'", "None", "'>f8'",
)  # fmt: skip

_TEXTS = ("{", "[]", "{}", "lambda: 0", "{**{}}", "-" * 20_000 + "1")


class Pickled:
    """An object that makes a file when it is unpickled."""

    def __init__(self, canary: str):
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (self.canary,)


def pickled(canary: str) -> bytes:
    """A pickle that leaves a trace if anybody loads it."""
    return pickle.dumps(Pickled(canary))


def npy(random: Random, sound: bytes, canary: str) -> bytes:
    """An array file with another header: shapes, types and orders that do not fit its bytes."""
    shape, descr = random.choice(_SHAPES), random.choice(_DTYPES)
    order = random.choice(("False", "True", "None", "1", "'x'"))
    start = sound.find(b"{")
    text = sound[start : sound.find(b"}") + 1].decode("latin1") if start >= 0 else "{}"
    if random.random() < 0.8:
        text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if random.random() < 0.1:
        text = random.choice((*_TEXTS, text + " " * 60_000))
    header = text.encode("latin1") + b"\n"
    version = random.choice((1, 1, 1, 2, 3, 9))
    length = random.choice((len(header), len(header), random.choice(NUMBERS) % 2**16))
    size = struct.pack("<H" if version == 1 else "<I", length % (2**16 if version == 1 else 2**32))
    content = pickled(canary) if "O" in descr else sound[-random.randrange(1, 200) :]
    return b"\x93NUMPY" + bytes((version, 0)) + size + header + content


def zipped(random: Random, members: dict[str, bytes]) -> bytes:
    """A zip file of `members` under wrong names, twice, squeezed, overlapping, or mislabelled."""
    target = io.BytesIO()
    method = random.choice((0, 0, 8, 8, 12, 14))
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            odd = random.random() < 0.15
            entry = zipfile.ZipInfo(random.choice(NAMES) or "x" if odd else name)
            entry.compress_type = method
            if random.random() < 0.1:
                entry.external_attr = 0o120777 << 16  # a symbolic link
            archive.writestr(entry, content)
            while random.random() < 0.1:
                archive.writestr(
                    zipfile.ZipInfo(name), content[: random.randrange(len(content) + 1)]
                )
    data = bytearray(target.getvalue())
    for trick in random.sample((_mislabel, _mislabel, _overlap, _comment, lambda *_: None), 1):
        trick(random, data)
    return bytes(data)


def _mislabel(random: Random, data: bytearray) -> None:
    """Another size, sum, method, flag or offset, in a local header or in the directory."""
    local = random.random() < 0.3
    places = _places(data, b"PK\x03\x04" if local else b"PK\x01\x02")
    if not places:
        return
    fields = (6, 8, 14, 18, 22, 26, 28) if local else (8, 10, 16, 20, 24, 28, 30, 32, 34, 42)
    place = random.choice(places) + random.choice(fields)
    data[place : place + 4] = struct.pack("<I", random.choice(NUMBERS) % 2**32)


def _overlap(random: Random, data: bytearray) -> None:
    """A thousand entries of the directory for the same bytes."""
    places = _places(data, b"PK\x01\x02")
    end = data.rfind(b"PK\x05\x06")
    if not places or end < 0:
        return
    name = struct.unpack_from("<H", data, places[-1] + 28)[0]
    entry = data[places[-1] : places[-1] + 46 + name]
    copies = b""
    for number in range(1000):
        other = bytearray(entry)
        other[46 : 46 + min(4, name)] = f"{number:04d}".encode()[: min(4, name)]
        copies += other
    count, size = struct.unpack_from("<HI", data, end + 10)
    struct.pack_into(
        "<HHI", data, end + 8, (count + 1000) % 65536, (count + 1000) % 65536, size + len(copies)
    )
    data[end:end] = copies


def _comment(random: Random, data: bytearray) -> None:
    data += b"x" * random.choice((1, 70_000))


def _places(data: bytearray, sign: bytes) -> list[int]:
    found, place = [], data.find(sign)
    while place >= 0:
        found.append(place)
        place = data.find(sign, place + 1)
    return found


def bomb(size: int) -> bytes:
    """So many zeros, deflated: a thousandth of them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**20)
    parts = [squeeze.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, squeeze.flush()])


def tarred(random: Random, members: dict[str, bytes]) -> bytes:
    """A tar file of `members` with links, other types, sparse files and sizes that are not so."""
    target = io.BytesIO()
    form = random.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(random.choice(NAMES[:4]) if random.random() < 0.1 else name)
            entry.size = len(content)
            if random.random() < 0.2:
                entry.type = random.choice(
                    (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"L", b"x", b"z")
                )
                entry.linkname = random.choice(("/etc/passwd", "../../escaped", name, *members))
            if form == tarfile.PAX_FORMAT and random.random() < 0.3:
                entry.pax_headers = {
                    random.choice(_PAX): str(random.choice((*NUMBERS, "x", "0,9" * 999)))
                }
            archive.addfile(entry, io.BytesIO(content))
    data = bytearray(target.getvalue())
    while random.random() < 0.4:  # a header's field, and now and then its sum made right again
        header = 512 * random.randrange(max(1, len(data) // 512))
        place = header + random.choice((0, 100, 124, 124, 156, 157, 257, 345, 386, 482, 483))
        text = random.choice(
            (b"77777777777\0", b"\x80\0\0\0\0\0\0\0\0\xff\xff\xff", b"-1\0", b"S", b"\xff" * 12)
        )
        data[place : place + len(text)] = text
        if random.random() < 0.7:
            _sum(data, header)
    return gzip.compress(bytes(data), 1)


_PAX = (
    "size",
    "path",
    "GNU.sparse.map",
    "GNU.sparse.size",
    "GNU.sparse.major",
    "linkpath",
    "mtime",
)


def _sum(data: bytearray, header: int) -> None:
    block = data[header : header + 512]
    if len(block) == 512:
        block[148:156] = b" " * 8
        data[header + 148 : header + 156] = b"%06o\0 " % sum(block)
