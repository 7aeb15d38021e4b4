"""A folder of images: read once, cut square, kept until one of them changes."""

import builtins
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import streams
from neoteny.errors import UserError
from neoteny.streams import DataError, image_folder, memory

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)
CLASSES = {"apples": RED, "grass": GREEN, "sea": BLUE}
ROWS = 5  # of each class


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))


def plain(colour, size=(7, 9)):
    return Image.new("RGB", size, colour)


def fill(folder, classes=CLASSES, rows=ROWS):
    """A class of each colour, in formats without loss; the red of an image tells its number."""
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for row in range(rows):
            suffix = ("png", "bmp", "tiff")[row % 3]
            plain(colour, (5 + row, 8)).save(folder / name / f"{row}.{suffix}")
    return folder


@pytest.fixture
def root(tmp_path):
    return fill(tmp_path / "data" / "things")


def assert_coloured(batch, classes=CLASSES):
    for image, label in zip(batch.inputs, batch.labels, strict=True):
        assert np.unique(image.reshape(-1, 3), axis=0).tolist() == [
            list([*classes.values()][label])
        ]


@pytest.mark.parametrize("name", ["folder", "name"])
def test_classes_are_the_sub_folders_in_order_and_a_fifth_is_held_out(root, name):
    loaded = (
        streams.load(f"folder:{root}@16")
        if name == "folder"
        else streams.load("things@16", folder=root.parent)
    )
    assert loaded.num_classes == 3 and loaded.image_shape == (16, 16, 3)
    for batch, rows in [(loaded.train, 4), (loaded.heldout, 1)]:
        assert np.bincount(batch.labels).tolist() == [rows] * 3
        assert isinstance(batch.inputs, jax.Array) and batch.inputs.shape[1:] == (16, 16, 3)
        assert batch.inputs.dtype == jnp.uint8
        assert_coloured(batch)


def test_without_a_size_images_have_the_usual_one(root):
    assert streams.load("things", folder=root.parent).image_shape == (32, 32, 3)
    assert streams.locate("things", folder=root.parent) == str(root)
    assert streams.locate(f"folder:{root}@64") == str(root)


@pytest.mark.parametrize("heldout", ["test", "val", "Validation"])
def test_two_halves_are_taken_as_they_are(tmp_path, heldout):
    fill(tmp_path / "train", rows=3)
    fill(tmp_path / heldout, rows=2)
    loaded = streams.load(f"folder:{tmp_path}")
    assert loaded.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert loaded.heldout.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert_coloured(loaded.heldout)


def two_classes(tmp_path, image, **options):
    """A folder of which the class 0 is `image` twice."""
    fill(tmp_path / "two", {"b": GREEN})
    (tmp_path / "two/a").mkdir()
    for name in ("1.png", "2.png"):
        image.save(tmp_path / "two/a" / name, **options)
    loaded = streams.load(f"folder:{tmp_path / 'two'}@4")
    return np.asarray(loaded.train.inputs)[loaded.train.labels.tolist().index(0)]


def test_the_central_square_is_what_is_kept(tmp_path):
    image = plain(RED, (12, 4))
    image.paste(BLUE, (4, 0, 8, 4))
    assert np.unique(two_classes(tmp_path, image).reshape(-1, 3), axis=0).tolist() == [[*BLUE]]


def test_an_image_of_the_size_asked_is_left_as_it_is(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(two_classes(tmp_path, Image.fromarray(pixels)), pixels)


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of what was seen is on the right
    found = two_classes(tmp_path, Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_all_kinds_of_pixels_become_three_bytes(tmp_path, mode):
    image = plain((0, 0, 0))
    image = Image.new(mode, (6, 6)) if mode == "I;16" else image.convert(mode)
    fill(tmp_path / "two", {"b": GREEN})
    (tmp_path / "two/a").mkdir()
    for row in range(2):
        image.save(tmp_path / f"two/a/{row}.{'tiff' if mode == 'CMYK' else 'png'}")
    loaded = streams.load(f"folder:{tmp_path / 'two'}@4")
    dark = np.asarray(loaded.train.inputs)[np.asarray(loaded.train.labels) == 0]
    assert dark.shape == (1, 4, 4, 3) and dark.max() == 0


def test_sixteen_bits_become_the_eight_highest_of_them(tmp_path):
    bits = np.random.RandomState(0).randint(0, 2**16, (4, 4)).astype(np.uint16)
    found = two_classes(tmp_path, Image.fromarray(bits))
    np.testing.assert_array_equal(found, np.repeat(bits[..., None] >> 8, 3, 2))


def test_pixels_of_unknown_range_are_refused(root):
    Image.new("F", (4, 4)).save(root / "sea/9.tiff")
    with pytest.raises(DataError, match=r"9\.tiff.*no known range"):
        streams.load(f"folder:{root}")


# ---- kept in the cache


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded from now on."""
    seen, before = [], image_folder._pixels

    def watched(path, *, size):
        seen.append(path)
        return before(path, size=size)

    monkeypatch.setattr(image_folder, "_pixels", watched)
    return seen


def kept():
    return sorted(path.name for path in streams.datasets.files.cache.folder().rglob("*-v1"))


def test_images_are_resized_once_for_each_size(root, decoded):
    for size, count in [(8, 15), (8, 15), (4, 30), (8, 30)]:
        assert streams.load(f"folder:{root}@{size}").image_shape == (size, size, 3)
        assert len(decoded) == count


def test_the_order_in_which_a_disk_lists_files_does_not_matter(root, decoded, monkeypatch):
    streams.load(f"folder:{root}")
    for method in ("rglob", "iterdir"):
        listed = getattr(Path, method)
        backwards = lambda *args, listed=listed: reversed(sorted(listed(*args)))
        monkeypatch.setattr(Path, method, backwards)
    assert_coloured(streams.load(f"folder:{root}").train)
    assert len(decoded) == 15


@pytest.mark.parametrize("change", ["changed", "added", "removed", "moved"])
def test_a_change_of_any_file_is_seen_and_what_was_kept_is_dropped(root, decoded, change):
    streams.load(f"folder:{root}")
    before = kept()
    if change == "changed":
        plain((1, 2, 3)).save(root / "sea/0.png")
        os.utime(root / "sea/0.png", (1, 1))
    elif change == "added":
        plain(BLUE).save(root / "sea/9.png")
    elif change == "removed":
        (root / "sea/0.png").unlink()
    else:
        (root / "sea/0.png").rename(root / "grass/9.png")
    decoded.clear()
    loaded = streams.load(f"folder:{root}")
    assert len(decoded) == {"added": 16, "removed": 14}.get(change, 15)
    assert len(loaded.train.labels) + len(loaded.heldout.labels) == len(decoded)
    assert len(kept()) == 1 and kept() != before


def test_hidden_files_and_clutter_do_not_count(root, decoded):
    (root / ".cache").mkdir()
    for name in ("sea/.DS_Store", "sea/Thumbs.db", "notes.txt"):
        (root / name).write_text("no image")
    streams.load(f"folder:{root}")
    assert len(decoded) == 15


def test_progress_comes_to_all_bytes_of_the_files(root, monkeypatch):
    monkeypatch.setattr(image_folder, "_TOGETHER", 2)
    told = []
    streams.load(f"folder:{root}", progress=lambda *report: told.append(report))
    total = sum(path.stat().st_size for path in root.rglob("*.*"))
    assert told[0] == ("things", 0, total) and told[-1] == ("things", total, total)
    assert told == sorted(told) and len(told) > 4


def test_two_that_make_it_at_once_both_succeed(root):
    with ThreadPoolExecutor(2) as pool:
        for loaded in [pool.submit(streams.load, f"folder:{root}") for _ in range(2)]:
            assert_coloured(loaded.result().train)
    assert len(kept()) == 1 and not list(root.parent.parent.rglob("*.part"))


def test_a_failure_leaves_nothing_behind(root):
    (root / "sea/9.png").write_text("no image")
    with pytest.raises(DataError):
        streams.load(f"folder:{root}")
    assert not kept() and not list((root.parent.parent / "cache").rglob("*.part"))


def test_a_damaged_cache_is_named(root):
    streams.load(f"folder:{root}")
    (path,) = (root.parent.parent / "cache").rglob("train_images.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"is damaged.*Delete it and try again"):
        streams.load(f"folder:{root}")


def test_a_cache_that_cannot_be_written_is_named(root, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"Could not write .*NEOTENY_CACHE=DIR"):
        streams.load(f"folder:{root}")


def test_many_images_stay_in_the_cache_and_parts_of_them_are_read(root, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 50_000)  # all have 46,080 bytes
    loaded = streams.load(f"folder:{root}")
    assert isinstance(loaded.train.inputs, np.memmap) and isinstance(
        loaded.heldout.inputs, np.memmap
    )
    assert_coloured(streams.subset(loaded, 5).train)
    assert_coloured(streams.classes(loaded, [1]).heldout, {"grass": GREEN})


# ---- refused


def empty_class(root):
    (root / "void").mkdir()


def no_image(root):
    (root / "sea/9.txt").write_text("words")


def cut_short(root):
    content = (root / "sea/0.png").read_bytes()
    (root / "sea/0.png").write_bytes(content[: len(content) // 2])


def one_class(root):
    for name in ("sea", "grass"):
        (root / name).rename(root / f".{name}")


def no_class(root):
    one_class(root)
    (root / "apples").rename(root / ".apples")


def one_image(root):
    (root / "few").mkdir()
    plain(RED).save(root / "few/1.png")


def other_classes(root):
    fill(root / "train")
    fill(root / "test", {"apples": RED, "sky": BLUE})


REFUSED = {
    empty_class: r"The class folder `.*void` is empty",
    no_image: r"`.*9\.txt` is not an image",
    cut_short: r"`.*sea/0\.png` is not an image",
    one_class: "at least two classes, but has one, `apples`",
    no_class: "at least two classes, but has none",
    one_image: r"`.*few` has one image only",
    other_classes: "do not have the same classes.*`grass` and 2 more",
}


@pytest.mark.parametrize("spoil", REFUSED)
def test_a_folder_that_is_no_set_of_classes_is_refused(root, spoil):
    spoil(root)
    with pytest.raises(DataError, match=REFUSED[spoil]) as caught:
        streams.load(f"folder:{root}")
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_an_image_too_large_to_be_one_is_refused(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"is not an image that Pillow can read .*bomb"):
        streams.load(f"folder:{root}")


@pytest.mark.parametrize("size", [0, 5000])
def test_a_size_that_no_network_takes_is_refused(root, size):
    with pytest.raises(DataError, match=f"{size} pixels a side"):
        streams.load(f"folder:{root}@{size}")


def test_folders_that_are_not_there_are_refused_by_name(root, tmp_path):
    with pytest.raises(DataError, match="There is no folder `nowhere`"):
        streams.load("folder:nowhere")
    with pytest.raises(DataError, match="stands for a folder of your own"):
        streams.load("folder:PATH")
    for name in ("nothing", "../data/things", "nothing@8"):
        with pytest.raises(UserError, match=rf"There is no data set.*`{name[:5]}.*\.npz`"):
            streams.load(name, folder=root.parent)
    with pytest.raises(UserError, match=r"as no folder is named: `--data DIR`"):
        streams.load("nothing")


def test_a_size_for_data_that_have_one_is_refused(tmp_path):
    with pytest.raises(DataError, match="images of mnist have one of their own"):
        streams.load("mnist@64", folder=tmp_path)


def test_without_pillow_it_is_said_what_to_install(root, monkeypatch):
    before = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "PIL":
            raise ImportError(name)
        return before(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for act in (lambda: streams.load(f"folder:{root}"), lambda: streams.locate("folder:PATH")):
        with pytest.raises(DataError, match=r"pip install 'neoteny\[images\]'"):
            act()
