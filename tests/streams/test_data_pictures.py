"""The official archives of Omniglot and Tiny ImageNet, small ones in their layout."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import cache, streams
from neoteny.streams import DataError, image_archives, image_folder, sources

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: neoteny[images]")

REAL = os.environ.get("NEOTENY_DATA")  # read before `surroundings` hides it


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))


def encoded(pixels, kind, **options):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def zipped(contents):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for entry, content in contents.items():
            archive.writestr(entry, content)
    return target.getvalue()


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Make `contents`, by file name, the official archives, and a folder their only mirror."""

    def publish(name, contents):
        mirror = tmp_path / "mirror"
        mirror.mkdir(exist_ok=True)
        official = []
        for file, content in contents.items():
            (mirror / file).write_bytes(content)
            official.append(sources.File(file, len(content), hashlib.sha256(content).hexdigest()))
        source = sources.SOURCES[name]._replace(
            mirrors=(f"{mirror.as_uri()}/",), files=tuple(official)
        )
        monkeypatch.setitem(sources.SOURCES, name, source)
        return mirror

    return publish


# ---- Omniglot: characters of two alphabets in each archive, in another order than their numbers

LETTERS = {
    "images_background.zip": {"Zulu": [1], "Aramaic": [2, 3]},
    "images_evaluation.zip": {"Runes": [4]},
}


def letter(number, drawer):
    """105 x 105, true where there is ink."""
    return np.random.RandomState(100 * number + drawer).rand(105, 105) < 0.3


def omniglot():
    archives = {}
    for file, alphabets in LETTERS.items():
        root = file.removesuffix(".zip")
        entries = {
            f"{root}/{alphabet}/character{place:02d}/{number:04d}_{drawer:02d}.png": encoded(
                ~letter(number, drawer), "PNG"
            )
            for alphabet, numbers in alphabets.items()
            for place, number in enumerate(numbers, 1)
            for drawer in range(20, 0, -1)
        }
        archives[file] = zipped({"__MACOSX/x/0001_01.png": b"", **entries})
    return archives


def test_letters_are_the_ink_in_boxes_by_number_and_drawer(publish):
    folder = publish("omniglot", omniglot())
    loaded = streams.load("omniglot", folder=folder)
    for batch, drawers in [(loaded.train, range(1, 16)), (loaded.heldout, range(16, 21))]:
        order = [(number, drawer) for number in range(1, 5) for drawer in drawers]
        assert batch.labels.tolist() == [number - 1 for number, _ in order]
        assert batch.inputs.shape == (len(order), 28, 28, 1) and batch.inputs.dtype == jnp.uint8
        for row in (0, 17):
            ink = letter(*order[row])
            for line, column in [(0, 0), (5, 27), (27, 13)]:
                # boxes of 105 / 28 = 3.75 pixels, their edges rounded to whole ones
                top, bottom, left, right = (
                    round(3.75 * edge) for edge in (line, line + 1, column, column + 1)
                )
                expected = round(255 * ink[top:bottom, left:right].mean())
                assert abs(int(batch.inputs[row, line, column, 0]) - expected) <= 1


# ---- Tiny ImageNet


def photograph(seed):
    """64 x 64, smooth enough that JPEG keeps it."""
    coarse = np.random.RandomState(seed).randint(0, 256, (2, 2, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((32, 32, 1), np.uint8))


def tiny_imagenet():
    root = "tiny-imagenet-200"
    entries = {f"{root}/wnids.txt": b"n02\nn01\n"}
    for seed, wnid in enumerate(["n02", "n02", "n01"]):
        picture = encoded(photograph(seed), "JPEG", quality=95, subsampling=0)
        entries[f"{root}/train/{wnid}/images/{wnid}_{seed}.JPEG"] = picture
    grey = encoded(np.full((64, 64), 200, np.uint8), "JPEG")
    entries[f"{root}/val/images/val_0.JPEG"] = grey
    entries[f"{root}/val/images/val_1.JPEG"] = grey
    entries[f"{root}/val/val_annotations.txt"] = (
        b"val_0.JPEG\tn02\t0\t0\t6\t6\nval_1.JPEG\tn01\t0\t0\t6\t6\n"
    )
    entries[f"{root}/test/images/test_0.JPEG"] = grey
    return {"tiny-imagenet-200.zip": zipped(entries)}


def test_photographs_are_halved_and_classes_in_the_order_of_their_numbers(publish):
    folder = publish("tiny-imagenet-32", tiny_imagenet())
    loaded = streams.load("tiny-imagenet-32", folder=folder)
    assert loaded.train.labels.tolist() == [0, 1, 1] and loaded.heldout.labels.tolist() == [1, 0]
    halves = [photograph(seed).reshape(32, 2, 32, 2, 3).mean((1, 3)) for seed in (2, 0, 1)]
    np.testing.assert_allclose(loaded.train.inputs, halves, atol=12)  # what JPEG changes
    assert loaded.heldout.inputs.shape == (2, 32, 32, 3)
    np.testing.assert_allclose(loaded.heldout.inputs, 200, atol=2)


# ---- both

MAKERS = {"omniglot": omniglot, "tiny-imagenet-32": tiny_imagenet}


@pytest.mark.parametrize("name", MAKERS)
def test_decoded_once_and_kept(publish, name, monkeypatch):
    folder = publish(name, MAKERS[name]())
    told = []
    first = streams.load(name, progress=lambda *each: told.append(each))  # downloaded
    assert any(label == name and done for label, done, _ in told)
    monkeypatch.setattr(image_archives, "_decoded", lambda *_: pytest.fail("decoded again"))
    again = streams.load(name, folder=folder)
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)
    assert [path.suffix for path in (cache.folder() / "data" / "made").iterdir()] == [".npz"]


def test_what_was_kept_and_cut_short_is_made_anew(publish):
    folder = publish("omniglot", omniglot())
    first = streams.load("omniglot", folder=folder)
    (kept,) = (cache.folder() / "data" / "made").iterdir()
    kept.write_bytes(kept.read_bytes()[:500])
    again = streams.load("omniglot", folder=folder)
    np.testing.assert_array_equal(first.train.inputs, again.train.inputs)


def test_a_cache_that_cannot_be_made_is_named(publish, tmp_path, monkeypatch):
    folder = publish("omniglot", omniglot())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"Could not write .*NEOTENY_CACHE=DIR"):
        streams.load("omniglot", folder=folder)


def test_letters_of_another_size_are_refused(publish):
    picture = encoded(np.zeros((100, 105), bool), "PNG")
    archives = dict.fromkeys(LETTERS, zipped({"a/b/0001_01.png": picture}))
    with pytest.raises(DataError, match="105 x 100 pixels, not 105 x 105"):
        streams.load("omniglot", folder=publish("omniglot", archives))


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_missing_is_named_with_both_ways_out(tmp_path, name):
    (file, *_) = sources.SOURCES[name].files
    with pytest.raises(DataError, match=rf"missing {file.name}.*`{name}\.npz` do as well"):
        streams.load(name, folder=tmp_path)
    with pytest.raises(DataError, match="downloaded when first used"):
        streams.locate(name)


FAULTS = {
    "no zip": b"words",
    "no pictures": zipped({"tiny-imagenet-200/val/val_annotations.txt": b""}),
    "no annotations": zipped(
        {"tiny-imagenet-200/train/n01/images/n01_0.JPEG": encoded(photograph(0), "JPEG")}
    ),
    "no picture": zipped(
        {
            "tiny-imagenet-200/train/n01/images/n01_0.JPEG": b"words",
            "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01",
        }
    ),
    "a class that is not there": zipped(
        {
            "tiny-imagenet-200/train/n01/images/n01_0.JPEG": encoded(photograph(0), "JPEG"),
            "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn07",
        }
    ),
    "a huge picture": zipped(
        {
            "tiny-imagenet-200/train/n01/images/n01_0.JPEG": bytes(2**21),
            "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01",
        }
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_the_archive_is_refused_and_nothing_is_kept(publish, fault):
    folder = publish("tiny-imagenet-32", {"tiny-imagenet-200.zip": FAULTS[fault]})
    with pytest.raises(DataError, match=r"not the whole of tiny-imagenet-32 \(.+\)\. Replace it"):
        streams.load("tiny-imagenet-32", folder=folder)
    assert not (cache.folder() / "data" / "made").exists()


def test_without_pillow_the_extra_is_named(publish, monkeypatch):
    def missing():
        raise DataError("Install it with `pip install 'neoteny[images]'`.")

    monkeypatch.setattr(image_archives, "pillow", missing)
    folder = publish("omniglot", omniglot())
    with pytest.raises(DataError, match=r"neoteny\[images\]"):
        streams.load("omniglot", folder=folder)
    assert image_folder.pillow is not missing


def test_real_letters_give_the_arrays_that_are_made_of_them(publish):
    """The first real character, written as a picture, against the arrays of the whole."""
    packed = Path(REAL or ".") / "omniglot" / "images_background.npz"
    whole = Path(REAL or ".") / "omniglot.npz"
    if not packed.is_file() or not whole.is_file():
        pytest.skip("NEOTENY_DATA names no folder with omniglot as images and as arrays")
    with np.load(packed) as found:
        drawn = found["images"][:3]
    entries = {
        f"a/b/{number + 1:04d}_{drawer + 1:02d}.png": encoded(drawn[number, drawer], "PNG")
        for number in range(3)
        for drawer in range(20)
    }
    folder = publish("omniglot", {"images_background.zip": zipped(entries)})
    loaded = streams.load("omniglot", folder=folder)
    with np.load(whole) as found:
        np.testing.assert_array_equal(loaded.train.inputs[..., 0], found["train_images"][:45])
        np.testing.assert_array_equal(loaded.heldout.inputs[..., 0], found["test_images"][:15])
