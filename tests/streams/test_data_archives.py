"""Official archives of CIFAR and the files of KMNIST, small ones in their layout."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import streams
from neoteny.streams import DataError, arrays, files, npz, sources

ROWS = 4  # of each member


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))


# ---- CIFAR

MEMBERS = {
    "cifar10": [
        *(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in (1, 2, 3, 4, 5)),
        "cifar-10-batches-bin/test_batch.bin",
    ],
    "cifar100": ["cifar-100-binary/train.bin", "cifar-100-binary/test.bin"],
}
NAMES = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}


def records(name, seed):
    """Images, labels, and the bytes they are in the file."""
    draw = np.random.RandomState(seed)
    images = draw.randint(0, 256, (ROWS, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(ROWS) % 2
    lines = []
    for image, label in zip(images, labels, strict=True):
        before = [label] if name == "cifar10" else [19 - label, label]
        planes = [image[:, :, colour].tobytes() for colour in range(3)]
        lines.append(bytes(before) + b"".join(planes))
    return images, labels, b"".join(lines)


def tar(contents):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for member, content in contents.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def made(name):
    return {member: records(name, seed)[2] for seed, member in enumerate(MEMBERS[name])}


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Make `content` the official archive, and a folder its only mirror."""

    def publish(name, content):
        mirror = tmp_path / "mirror"
        mirror.mkdir(exist_ok=True)
        (mirror / NAMES[name]).write_bytes(content)
        file = sources.File(NAMES[name], len(content), hashlib.sha256(content).hexdigest())
        source = sources.SOURCES[name]._replace(mirrors=(f"{mirror.as_uri()}/",), files=(file,))
        monkeypatch.setitem(sources.SOURCES, name, source)
        return mirror

    return publish


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["downloaded", "from a folder"])
def test_an_archive_gives_images_in_rows_columns_and_colours(publish, name, way):
    folder = publish(name, tar(made(name)))
    loaded = streams.load(name, folder=folder if way == "from a folder" else None)
    whole = [records(name, seed) for seed in range(len(MEMBERS[name]))]
    for batch, part in [(loaded.train, whole[:-1]), (loaded.heldout, whole[-1:])]:
        images, labels = (np.concatenate([each[n] for each in part]) for n in (0, 1))
        np.testing.assert_array_equal(batch.inputs, images)
        np.testing.assert_array_equal(batch.labels, labels)
        assert batch.inputs.dtype == jnp.uint8 and batch.labels.dtype == jnp.int32
    kept = files.cache_folder(name) / NAMES[name]
    assert kept.is_file() == (way == "downloaded")


@pytest.mark.parametrize("name", NAMES)
def test_another_archive_than_the_official_one_is_refused(publish, name):
    folder = publish(name, tar(made(name)))
    path = folder / NAMES[name]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(DataError, match=f"{NAMES[name]}.* is not {name}'s official file"):
        streams.load(name, folder=folder)
    with pytest.raises(DataError, match=rf"Could not download.*{name}\.npz` do as well"):
        streams.load(name)


@pytest.mark.parametrize("name", NAMES)
def test_plain_arrays_come_before_the_archive(publish, name, monkeypatch):
    folder = publish(name, tar(made(name)))
    images, labels, _ = records(name, 7)
    np.savez(folder / f"{name}.npz", **dict(zip(npz.KEYS, 2 * (images, labels), strict=True)))
    monkeypatch.setitem(arrays.PUBLISHED, name, arrays.Expected(2, (32, 32, 3)))
    loaded = streams.load(name, folder=folder)
    np.testing.assert_array_equal(loaded.train.inputs, images)
    assert streams.locate(name, folder=folder).endswith(".npz")


def test_a_missing_archive_is_named_with_both_ways_out(tmp_path):
    with pytest.raises(DataError, match=r"missing cifar-100-binary.*cifar100\.npz` do as well"):
        streams.load("cifar100", folder=tmp_path)
    with pytest.raises(DataError, match=r"not in .* or "):
        streams.locate("cifar100", folder=tmp_path)
    with pytest.raises(DataError, match="downloaded when first used"):
        streams.locate("cifar100")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


PYTHON_VERSION = tar({"cifar-100-python/train": pickle.dumps(Trap())})
WHOLE = made("cifar100")
FAULTS = {
    "no archive": b"words",
    "the Python version": PYTHON_VERSION,
    "half a record": tar(WHOLE | {"cifar-100-binary/test.bin": b"12"}),
    "an empty member": tar(WHOLE | {"cifar-100-binary/test.bin": b""}),
    "a member missing": tar({"cifar-100-binary/train.bin": WHOLE["cifar-100-binary/train.bin"]}),
    "cut short": tar(WHOLE)[:-2000],
    "no end": gzip.compress(gzip.decompress(tar(WHOLE))[: 512 + 3000]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_archive_of_records_is_refused_and_nothing_in_it_is_run(
    publish, fault, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = publish("cifar100", FAULTS[fault])
    with pytest.raises(DataError, match="is not a whole archive of cifar100's binary"):
        streams.load("cifar100", folder=folder)
    assert not (tmp_path / "sprung").exists()


# ---- KMNIST


def idx(array):
    sizes = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(sizes + array.astype(np.uint8).tobytes())


PIXELS = np.random.RandomState(1).randint(0, 256, (30, 2, 2))
LABELS = np.arange(30) % 3
PARTS = (PIXELS[:15], LABELS[:15], PIXELS[15:], LABELS[15:])


@pytest.fixture
def kmnist(monkeypatch, tmp_path):
    content = dict(zip(sources.NAMES, map(idx, PARTS), strict=True))
    official = tuple(
        sources.File(name, len(data), hashlib.sha256(data).hexdigest())
        for name, data in content.items()
    )
    for name, part in (("kmnist", official), ("kmnist-t10k", official[2:])):
        source = sources.SOURCES[name]._replace(
            mirrors=(f"{tmp_path.as_uri()}/kmnist/",), files=part
        )
        monkeypatch.setitem(sources.SOURCES, name, source)
    (tmp_path / "kmnist").mkdir()
    for name, data in content.items():
        (tmp_path / "kmnist" / name).write_bytes(data)
    return tmp_path


def test_the_four_official_files_are_kmnist(kmnist):
    for folder in (kmnist, kmnist / "kmnist", None):
        loaded = streams.load("kmnist", folder=folder)
        np.testing.assert_array_equal(loaded.train.inputs[..., 0], PIXELS[:15])
        np.testing.assert_array_equal(loaded.heldout.labels, LABELS[15:])
        assert loaded.train.inputs.dtype == jnp.uint8 and loaded.image_shape == (2, 2, 1)


def test_the_test_half_alone_is_split_under_a_name_that_says_so(kmnist):
    for name in sources.NAMES[:2]:
        (kmnist / "kmnist" / name).unlink()
    loaded = streams.load("kmnist-t10k", folder=kmnist)
    assert np.bincount(loaded.train.labels).tolist() == [4, 4, 4]
    assert np.bincount(loaded.heldout.labels).tolist() == [1, 1, 1]
    found = np.concatenate([loaded.train.inputs, loaded.heldout.inputs])[..., 0]
    assert sorted(found.reshape(15, 4).tolist()) == sorted(PIXELS[15:].reshape(15, 4).tolist())
    assert streams.locate("kmnist-t10k", folder=kmnist) == str(kmnist / "kmnist")
    with pytest.raises(DataError, match=r"missing train-images.*`kmnist-t10k` does with the t10k"):
        streams.load("kmnist", folder=kmnist)


def test_the_test_half_is_downloaded_to_where_the_whole_will_be(kmnist):
    streams.load("kmnist-t10k")
    kept = files.cache_folder("kmnist")
    assert {path.name for path in kept.iterdir()} == {*sources.NAMES[2:]}


# ---- the real files, where a machine has them

REAL = os.environ.get("NEOTENY_DATA")  # read before `surroundings` hides it
MD5 = {  # as the authors published them
    "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
    "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
    "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
    "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8",
}


@pytest.mark.parametrize("name", ["kmnist", "cifar10", "cifar100"])
def test_our_checksums_are_of_the_files_the_authors_published(name):
    there = [
        (file, path)
        for file in sources.SOURCES[name].files
        if REAL and (path := Path(REAL) / name / file.name).is_file()
    ]
    if not there:
        pytest.skip(f"NEOTENY_DATA names no folder with official files of {name}")
    for file, path in there:
        content = path.read_bytes()
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == MD5[file.name]
        assert hashlib.sha256(content).hexdigest() == file.sha256 and len(content) == file.size
        if file.unzipped_sha256 is not None:
            unzipped = gzip.decompress(content)
            assert len(unzipped) == file.unzipped_size
            assert hashlib.sha256(unzipped).hexdigest() == file.unzipped_sha256


def test_the_real_test_half_of_kmnist_is_split_in_balance():
    if not REAL or not (Path(REAL) / "kmnist").is_dir():
        pytest.skip("NEOTENY_DATA names no folder with kmnist")
    loaded = streams.load("kmnist-t10k", folder=REAL)
    assert np.bincount(loaded.train.labels).tolist() == [800] * 10
    assert np.bincount(loaded.heldout.labels).tolist() == [200] * 10
    assert loaded.train.inputs.shape == (8000, 28, 28, 1)
