"""IDX files: exactly what the header declares, or a refusal that names the file."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neoteny.streams import idx, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def zipped(content):
    """Compressed without the time of day, so that the names of tests do not change with it."""
    return gzip.compress(content, mtime=0)


def header(code, *sizes):
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)


def encode(array):
    body = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return header(CODES[array.dtype.str[1:]], *array.shape) + body


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
WHOLE = encode(IMAGES)


@pytest.mark.parametrize("compress", [bytes, zipped])
@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0))
    )
)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_type_and_shape_comes_back_in_native_order(tmp_path, compress, array):
    (tmp_path / "file").write_bytes(compress(encode(array)))
    read = read_idx(tmp_path / "file")
    assert read.dtype == array.dtype and read.dtype.isnative
    np.testing.assert_array_equal(read, array)


ZIPPED = zipped(WHOLE)
BEGINNINGS = {
    "plain": [WHOLE[:length] for length in range(len(WHOLE))],
    "compressed, then cut": [ZIPPED[:length] for length in range(len(ZIPPED))],
    "cut, then compressed": [zipped(WHOLE[:length]) for length in range(len(WHOLE))],
}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_no_beginning_of_a_file_is_taken_for_the_file(tmp_path, kind):
    for content in BEGINNINGS[kind]:
        (tmp_path / "images-ubyte").write_bytes(content)
        with pytest.raises(ValueError, match="images-ubyte"):
            read_idx(tmp_path / "images-ubyte")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (WHOLE + b"\0", "2 x 3 x 4 entries, 24 bytes, and more follow"),
        (zipped(WHOLE + b"\0"), "and more follow"),
        (ZIPPED + b"more", "compression is damaged"),
        (WHOLE[:-1], "24 bytes, and only 23 follow"),
        (b"", "it is empty"),
        (b"\x89PNG\r\n", "starts with the bytes 89 50 4e 47"),
        (b"\0\0\x07\x01" + WHOLE[4:], "starts with the bytes 00 00 07 01"),
        (b"\0\1\x08\x03" + WHOLE[4:], "starts with the bytes 00 01 08 03"),
        (b"\0\0\x08\x00", "number of dimensions"),
        (header(0x08, *[1] * 65) + b"\0", "number of dimensions"),
        (b"\0\0\x08\x03" + b"\0\0\0\2", "ends before the sizes of its 3 dimensions"),
        (header(0x08, 2**32 - 1, 2**32 - 1), "read at most"),
        (header(0x0E, 2**27 + 1), "read at most"),
        (header(0x08, 0, 2**32 - 1, 2**32 - 1), "read at most"),
    ],
)
def test_a_wrong_file_is_refused_by_name_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "suspect"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="suspect") as caught:
        read_idx(path)
    assert reason in str(caught.value)


def test_a_damaged_compressed_file_is_refused(tmp_path):
    content = bytearray(zipped(np.random.default_rng(0).bytes(1000)))
    content[-6] ^= 1  # in the checksum of the contents
    (tmp_path / "damaged.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.gz"):
        read_idx(tmp_path / "damaged.gz")


@pytest.mark.parametrize(
    "content",
    [
        header(0x08, 2**30) + b"few",  # promises a gigabyte, has three bytes
        zipped(header(0x08, 4) + bytes(2**26)),  # four bytes, then 64 MB of zeros
    ],
)
def test_memory_follows_neither_a_boastful_header_nor_a_decompression_bomb(tmp_path, content):
    (tmp_path / "bomb").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match="bomb"):
        read_idx(tmp_path / "bomb")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * idx._CHUNK
