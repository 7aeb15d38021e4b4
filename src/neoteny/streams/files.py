"""The official files of a data set: which they are, where they are found, how they are fetched.

A file is used only if it is, to the last bit, the one its authors published.
"""

import contextlib
import hashlib
import http.client
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from neoteny import cache
from neoteny.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called while a file is downloaded with its name, the bytes so far and the bytes in all."""


class DataError(UserError):
    """A data set, or a stream over it, that cannot be had as asked; says what to do instead."""


class File(NamedTuple):
    """An official file: what it must be as published, and what once decompressed.

    Where the latter is not known, only the file as published is used.
    """

    name: str
    size: int
    sha256: str
    unzipped_size: int | None = None
    unzipped_sha256: str | None = None


class Source(NamedTuple):
    """Where files are published, and which; IDX files to train on come first, images, then labels.

    - `folder`: the one that they share with those of another data set.
    - `instead`: what else there is to do for who does not have the files.
    """

    mirrors: tuple[str, ...]
    files: tuple[File, ...]
    folder: str | None = None
    instead: str = ""


NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_UNZIPPED_SIZES = (47_040_016, 60_008, 7_840_016, 10_008)


def _files(
    sizes: list[int], sha256: list[str], unzipped_sha256: list[str | None]
) -> tuple[File, ...]:
    rows = zip(NAMES, sizes, sha256, _UNZIPPED_SIZES, unzipped_sha256, strict=True)
    return tuple(File(*row) for row in rows)


_KMNIST = Source(
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    _files(
        [18_165_135, 29_497, 3_041_136, 5_120],
        [
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ],
        [
            None,
            None,
            "76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
            "a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
        ],
    ),
    instead=" `kmnist-t10k` does with the t10k files.",
)


def _archive(dataset: str, name: str, size: int, sha256: str) -> Source:
    instead = f" Plain arrays `{dataset}.npz` do as well."
    mirror = "https://www.cs.toronto.edu/~kriz/"
    return Source((mirror,), (File(name, size, sha256),), instead=instead)


# Of MNIST and its kin, computed from copies whose MD5s are those the authors published: a test
# compares. Of KMNIST's training half and CIFAR, those that TensorFlow Datasets pins.
SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _files(
            [9_912_422, 28_881, 1_648_877, 4_542],
            [
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ],
            [
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ],
        ),
    ),
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        _files(
            [26_421_880, 29_515, 4_422_102, 5_148],
            [
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ],
            [
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ],
        ),
    ),
    "kmnist": _KMNIST,
    "kmnist-t10k": Source(_KMNIST.mirrors, _KMNIST.files[2:], folder="kmnist"),
    "cifar10": _archive(
        "cifar10",
        "cifar-10-binary.tar.gz",
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    "cifar100": _archive(
        "cifar100",
        "cifar-100-binary.tar.gz",
        168_513_733,
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
}


def paths(name: str, *, folder: Path | str | None, progress: Progress | None) -> list[Path]:
    """The checked files of the data set `name`, in the order of its `SOURCES`.

    From `folder`, else the folder that NEOTENY_DATA names, else the cache, where missing ones
    are downloaded.

    **Raises:** `DataError` if one is missing, not the official one, or cannot be downloaded.
    """
    return _given(name, folder) or _cached(name, progress)


def locate(name: str, *, folder: Path | str | None) -> Path:
    """The folder from which `paths` would take files, which are neither read nor fetched.

    **Raises:** `DataError` if files are missing, saying where they were sought.
    """
    sought = places(name, folder)
    for place in sought or [cache_folder(name)]:
        if all(_find(place, file) for file in SOURCES[name].files):
            return place
    where = " or ".join(map(str, sought or [cache_folder(name)]))
    raise DataError(f"not in {where}" + ("" if sought else "; downloaded when first used"))


def places(name: str, folder: Path | str | None) -> list[Path]:
    """The folders in which files of `name` are sought before any is downloaded: that of its own
    within the one the caller or NEOTENY_DATA names, then that one. None if none is named."""
    given = folder if folder is not None else os.environ.get("NEOTENY_DATA")
    if not given:
        return []
    root = Path(given).expanduser()
    return [root / _folder_name(name), root]


def named(folder: Path | str | None) -> str:
    """How the caller named a folder, to begin a sentence about it."""
    if folder is not None:
        return f"`folder` is `{folder}`"
    return f"the environment variable NEOTENY_DATA is `{os.environ.get('NEOTENY_DATA')}`"


def cache_folder(name: str) -> Path:
    """Where downloaded files of the data set `name` are kept: `data/NAME` in neoteny's cache."""
    return cache.folder() / "data" / _folder_name(name)


def _folder_name(name: str) -> str:
    return (SOURCES[name].folder if name in SOURCES else None) or name


def _given(name: str, folder: Path | str | None) -> list[Path] | None:
    """Find and check the files in the folder the user named, if one is."""
    files, sought = SOURCES[name].files, places(name, folder)
    if not sought:
        return None
    found = [[_find(place, file) for file in files] for place in sought]
    paths = max(found, key=lambda paths: sum(path is not None for path in paths))
    missing = [file.name for file, path in zip(files, paths, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{named(folder)}, but neither `{sought[0]}` nor `{sought[1]}` itself holds all files "
            f"of {name}: missing {', '.join(missing)}. Put them there, name the folder that has "
            "them (`--data DIR`, `folder=DIR` or NEOTENY_DATA), or name none to have them "
            f"downloaded.{SOURCES[name].instead}"
        )
    advice = "Replace it with the official file, or name no folder to have that downloaded."
    whole = [path for path in paths if path is not None]
    for file, path in zip(files, whole, strict=True):
        _check(path, name, file, advice)
    return whole


def _find(folder: Path, file: File) -> Path | None:
    choices = [folder / file.name]
    if file.unzipped_sha256 is not None:
        choices.append(folder / file.name.removesuffix(".gz"))
    return next((path for path in choices if path.is_file()), None)


def _cached(name: str, progress: Progress | None) -> list[Path]:
    """Check the files in the cache, downloading those that are not there."""
    folder, (mirrors, files, *_) = cache_folder(name), SOURCES[name]
    advice = "Delete it and try again: it will be downloaded anew."
    for file in files:
        path = folder / file.name
        if path.is_file():
            _check(path, name, file, advice)
        else:
            _download(file, name, mirrors, path, progress)
    return [folder / file.name for file in files]


def _check(path: Path, name: str, file: File, advice: str) -> None:
    zipped = path.name == file.name
    size, sha256 = file[1:3] if zipped else file[3:5]
    if (found := path.stat().st_size) != size:
        raise DataError(
            f"`{path}` is not {name}'s official file: that has {size or 0:,} bytes, and this has "
            f"{found:,}. {advice}"
        )
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != sha256:
        raise DataError(
            f"`{path}` is not {name}'s official file: that has SHA-256 {sha256}, and this has "
            f"{digest}. {advice}"
        )


# ---- download: to a file of this process's own, checked, then renamed in one step

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**16
_ABANDONED = 24 * 3600.0  # seconds after which a part belongs to a process that was killed


class _MirrorError(Exception):
    """One mirror did not give the file; the next one may."""


def _download(
    file: File, name: str, mirrors: tuple[str, ...], target: Path, progress: Progress | None
) -> None:
    """Fetch `file` to `target`, which only ever holds the whole, checked file.

    Each process writes a part of its own, so two that download at once both succeed.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        for mirror in mirrors:
            try:
                _fetch(mirror + file.name, file, part, progress)
            except _MirrorError as error:
                reasons.append(f"{mirror}{file.name}: {error}")
            else:
                os.replace(part, target)
                return
    except OSError as error:
        raise DataError(
            f"Could not write `{target}`, to which a file of {name} is downloaded: {error}. Make "
            "room or name another cache (NEOTENY_CACHE=DIR), or name a folder that has the files "
            "(`--data DIR`)."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    names = ", ".join(other.name for other in SOURCES[name].files)
    raise DataError(
        f"Could not download `{file.name}` of {name} ({'; '.join(reasons)}). Try again with a "
        f"network, or fetch {names} elsewhere and name their folder: `--data DIR`, `folder=DIR` "
        f"or NEOTENY_DATA. `digits` needs no download.{SOURCES[name].instead}"
    )


def _fetch(url: str, file: File, part: Path, progress: Progress | None) -> None:
    report = progress or (lambda *_: None)
    digest, done = hashlib.sha256(), 0
    report(file.name, 0, file.size)
    with part.open("wb") as stream:
        for chunk in _chunks(url):
            done += len(chunk)
            if done > file.size:
                raise _MirrorError(f"sent more than the {file.size:,} bytes of the official file")
            digest.update(chunk)
            stream.write(chunk)
            report(file.name, done, file.size)
    if done < file.size:
        raise _MirrorError(f"broke off after {done:,} of {file.size:,} bytes")
    if digest.hexdigest() != file.sha256:
        raise _MirrorError(f"sent another file (SHA-256 {digest.hexdigest()}, not {file.sha256})")


def _chunks(url: str) -> Iterator[bytes]:
    request = urllib.request.Request(url, headers={"User-Agent": "neoteny"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except urllib.error.URLError as error:
        raise _MirrorError(str(error.reason) or str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(str(error) or type(error).__name__) from error


def _remove_abandoned(folder: Path) -> None:
    for part in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):  # its owner, or another process, was faster
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()
