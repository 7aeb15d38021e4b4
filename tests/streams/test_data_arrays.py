"""Plain arrays: read as they lie, refused in one sentence where they are not one problem."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import streams
from neoteny.streams import DataError, arrays, groups, memory, npz

ROWS, HELD, CLASSES = 12, 6, 3
IMAGES = np.random.RandomState(0).randint(0, 256, (ROWS + HELD, 4, 5, 3)).astype(np.uint8)
LABELS = np.arange(ROWS + HELD) % CLASSES
WHOLE = {
    "train_images": IMAGES[:ROWS],
    "train_labels": LABELS[:ROWS],
    "test_images": IMAGES[ROWS:],
    "test_labels": LABELS[ROWS:],
}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write(name="mine", *, save=np.savez, **changes):
        given = {key: value for key, value in (WHOLE | changes).items() if value is not None}
        path = tmp_path / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        save(path, **given)
        return path

    return write


def little_memory(monkeypatch, size):
    monkeypatch.setattr(memory, "available", lambda: size)


def assert_whole(loaded, name="mine"):
    assert loaded.name == name and loaded.num_classes == CLASSES
    assert loaded.image_shape == (4, 5, 3)
    for batch, part in [(loaded.train, "train"), (loaded.heldout, "test")]:
        assert batch.inputs.dtype == jnp.uint8 and batch.labels.dtype == jnp.int32
        np.testing.assert_array_equal(batch.inputs, WHOLE[f"{part}_images"])
        np.testing.assert_array_equal(batch.labels, WHOLE[f"{part}_labels"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("place", ["mine", "mine/mine"])
def test_arrays_lie_in_the_folder_or_one_of_their_name(write, tmp_path, monkeypatch, place, save):
    path = write(place, save=save)
    assert_whole(streams.load("mine", folder=tmp_path))
    assert streams.locate("mine", folder=tmp_path) == str(path)
    monkeypatch.setenv("NEOTENY_DATA", str(tmp_path))
    with jax.enable_x64(False):
        assert_whole(streams.load("mine"))


def test_images_of_one_channel_may_leave_it_out(write, tmp_path):
    write(train_images=IMAGES[:ROWS, ..., 0], test_images=IMAGES[ROWS:, ..., 0])
    loaded = streams.load("mine", folder=tmp_path)
    assert loaded.image_shape == (4, 5, 1)
    np.testing.assert_array_equal(loaded.heldout.inputs, IMAGES[ROWS:, ..., :1])


def test_groups_of_classes_come_along(write, tmp_path):
    write(groups=np.array([1, 0, 1]))
    assert streams.load("mine", folder=tmp_path).groups == (1, 0, 1)


@pytest.mark.parametrize("wrong", [[0, 1], [0, 2, 2], [0, 1, -1], [0.0, 1.0, 1.0]])
def test_groups_that_are_not_one_number_a_class_are_refused(write, tmp_path, wrong):
    write(groups=np.array(wrong))
    with pytest.raises(DataError, match="`groups`"):
        streams.load("mine", folder=tmp_path)


OBJECTS = np.array([{"a": 1}] * ROWS)
REFUSED = {
    "a missing array": ({"test_labels": None}, "no array `test_labels`.*it has test_images"),
    "objects": ({"train_labels": OBJECTS}, "`train_labels`.*Python objects"),
    "floats": ({"train_images": IMAGES[:ROWS] / 255}, "`train_images`.*float64.*uint8"),
    "bits": ({"test_images": IMAGES[ROWS:] > 9}, "`test_images`.*bool.*uint8"),
    "flat images": ({"test_images": IMAGES[ROWS:].reshape(HELD, -1)}, r"shape \(6, 60\)"),
    "no images": ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, r"shape \(0, 4"),
    "another shape": ({"test_images": IMAGES[ROWS:, :3]}, r"\(4, 5, 3\) and test images \(3, 5"),
    "too few labels": ({"train_labels": LABELS[:5]}, "12 `train_images`, but 5 `train_labels`"),
    "labels in columns": ({"train_labels": LABELS[:ROWS, None]}, r"shape \(12, 1\).*one row"),
    "labels that are no integers": ({"test_labels": LABELS[ROWS:] / 2}, "float64.*integers"),
    "negative labels": ({"train_labels": LABELS[:ROWS] - 1}, "has -1.*counted from 0"),
    "labels from 1": (
        {"train_labels": LABELS[:ROWS] + 1, "test_labels": LABELS[ROWS:] + 1},
        "No training row.*label 0.*up to 3",
    ),
    "a test label never trained on": ({"test_labels": LABELS[ROWS:] * 2}, "No training.*label 3"),
    "an enormous label": ({"test_labels": LABELS[ROWS:] + 2**62}, "label 46116"),
    "one class": (
        {"train_labels": np.zeros(ROWS, int), "test_labels": np.zeros(HELD, int)},
        "one class only",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_arrays_that_are_not_one_problem_are_refused(write, tmp_path, fault):
    changes, message = REFUSED[fault]
    path = write(**changes)
    with pytest.raises(DataError, match=message) as caught:
        streams.load("mine", folder=tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_no_program_hidden_in_a_file_is_run(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(train_labels=np.array([Trap()] * ROWS))
    with pytest.raises(DataError, match="run a program"):
        streams.load("mine", folder=tmp_path)
    (tmp_path / "mine.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"not a whole \.npz"):
        streams.load("mine", folder=tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_that_is_cut_short_or_changed_is_refused(write, tmp_path, save):
    path = write(save=save)
    content = path.read_bytes()
    pixels = content.index(IMAGES[:ROWS].tobytes()[:20]) if save is np.savez else 300
    for damaged in (
        b"",
        content[: len(content) // 2],
        content[:-1],
        content[:pixels] + bytes([content[pixels] ^ 1]) + content[pixels + 1 :],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"mine\.npz` is not a whole"):
            streams.load("mine", folder=tmp_path)


def test_an_array_with_other_bytes_than_it_declares_is_refused(write, tmp_path):
    path = write()
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["train_images.npy"] = entries["train_images.npy"][:-1]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="train_images does not have the bytes"):
        streams.load("mine", folder=tmp_path)


# ---- larger than memory


def test_large_images_stay_in_their_file_and_parts_of_them_are_read(
    write, tmp_path, monkeypatch, key
):
    write()
    small = streams.load("mine", folder=tmp_path)
    little_memory(monkeypatch, 900)  # all images have 1,080 bytes
    large = streams.load("mine", folder=tmp_path)
    assert isinstance(large.train.inputs, np.memmap)
    assert_whole(large)
    for part in (lambda data: streams.subset(data, 7), lambda data: streams.classes(data, [2, 0])):
        mapped, held = part(large), part(small)
        assert isinstance(mapped.train.inputs, jax.Array)
        for one, other in zip(
            jax.tree.leaves(mapped[1:3]), jax.tree.leaves(held[1:3]), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_a_part_that_does_not_fit_is_refused_before_it_is_read(write, tmp_path, monkeypatch):
    write()
    little_memory(monkeypatch, 500)
    large = streams.load("mine", folder=tmp_path)
    with pytest.raises(DataError, match=r"12 rows of mine would take .* GiB .*are free"):
        streams.subset(large, 12)
    with pytest.raises(DataError, match="mine would take"):
        streams.resident(large)
    little_memory(monkeypatch, 5000)
    assert isinstance(streams.resident(large).train.inputs, jax.Array)


def test_compressed_arrays_without_room_are_refused_unread(write, tmp_path, monkeypatch):
    path = write(save=np.savez_compressed)
    little_memory(monkeypatch, 900)
    monkeypatch.setattr(npz, "_whole", None)
    with pytest.raises(DataError, match=r"mine\.npz` would take.*uncompressed"):
        streams.load("mine", folder=path.parent)


def test_free_memory_is_the_systems_or_the_containers_rest(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.available() > 0
    (tmp_path / "meminfo").write_text("MemTotal: 100 kB\nMemAvailable:   70 kB\n")
    assert memory.available() == 70 * 1024
    for name, content in {"max": "50000", "current": "30000", "stat": "inactive_file 7"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert memory.available() == 20_007
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == 70 * 1024


# ---- under a published name


def test_arrays_under_a_published_name_must_be_what_they_are_called(write, tmp_path):
    write("cifar10-subset")
    with pytest.raises(DataError) as caught:
        streams.load("cifar10-subset", folder=tmp_path)
    message = str(caught.value)
    assert "10 classes and images of 32 x 32 x 3" in message
    assert "3 classes and images of 4 x 5 x 3" in message


def test_a_part_of_cifar_is_not_taken_for_the_whole(write, tmp_path):
    labels = np.arange(20) % 10
    images = np.zeros((20, 32, 32, 3), np.uint8)
    part = dict(zip(npz.KEYS, (images, labels, images, labels), strict=True))
    write("cifar10", **part)
    write("cifar10-subset", **part)
    with pytest.raises(DataError, match=r"50000 training and 10000 test.*20 training and 20 test"):
        streams.load("cifar10", folder=tmp_path)
    assert streams.load("cifar10-subset", folder=tmp_path).num_classes == 10


def test_missing_arrays_are_named_with_the_way_to_make_them(tmp_path):
    name = "cifar10-subset"
    for folder, where in [(tmp_path, str(tmp_path)), (None, "no folder is named")]:
        with pytest.raises(DataError, match=rf"{name}\.npz .*savez.*--data DIR") as caught:
            streams.load(name, folder=folder)
        assert where in str(caught.value)
        with pytest.raises(DataError, match=rf"{name}\.npz"):
            streams.locate(name, folder=folder)


def test_groups_are_those_of_the_authors():
    assert len(groups.GROUPS["omniglot"]) == 1623 and len(groups.GROUPS["cifar100"]) == 100
    assert np.bincount(groups.GROUPS["cifar100"]).tolist() == [5] * 20
    assert sorted(set(groups.GROUPS["omniglot"])) == list(range(50))


# ---- the real arrays, where a machine has them

REAL = os.environ.get("NEOTENY_DATA")  # read before `surroundings` hides it
FACTS = {  # rows to train on and held out of each class; mean of training pixels where published
    "cifar100": (500, 100, (0.50707516, 0.48654887, 0.44091784)),
    "cifar10-subset": (500, 100, None),
    "tiny-imagenet-32": (300, 50, None),
    "omniglot": (15, 5, None),
}


@pytest.fixture(params=FACTS)
def real(request):
    if not REAL or not (Path(REAL) / f"{request.param}.npz").is_file():
        pytest.skip(f"NEOTENY_DATA names no folder with {request.param}.npz")
    return request.param


def test_real_arrays_load_as_bytes_and_balanced(real):
    loaded, (train, heldout, mean) = streams.load(real, folder=REAL), FACTS[real]
    expected = arrays.PUBLISHED[real]
    assert loaded.image_shape == expected.image_shape
    for batch, rows in [(loaded.train, train), (loaded.heldout, heldout)]:
        assert batch.inputs.shape == (rows * expected.num_classes, *expected.image_shape)
        assert batch.inputs.dtype == jnp.uint8
        assert set(np.bincount(batch.labels)) == {rows}
    part = streams.subset(loaded, 2 * expected.num_classes)
    assert set(np.bincount(part.train.labels)) == {2} and part.train.inputs.dtype == jnp.uint8
    assert part.groups == loaded.groups == groups.GROUPS.get(real)
    if mean is not None:
        found = np.asarray(loaded.train.inputs).mean((0, 1, 2)) / 255
        np.testing.assert_allclose(found, mean, atol=1e-8)  # published to as many digits


def test_groups_are_those_of_the_published_tables():
    tables = [
        Path(REAL or ".") / path for path in ("omniglot/alphabets.json", "cifar100/classes.json")
    ]
    if not all(path.is_file() for path in tables):
        pytest.skip("NEOTENY_DATA names no folder with tables of alphabets and superclasses")
    alphabets, cifar = (json.loads(path.read_text()) for path in tables)
    sizes = [alphabet["n_characters"] for alphabet in alphabets]
    assert np.bincount(groups.GROUPS["omniglot"]).tolist() == sizes
    assert list(groups.GROUPS["cifar100"]) == cifar["fine_to_coarse"]
