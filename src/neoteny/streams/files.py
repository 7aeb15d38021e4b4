"""The official files of a data set: where they are found, how they are fetched.

A file is used only if it is, to the last bit, the one its authors published.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from neoteny import cache
from neoteny.errors import UserError
from neoteny.streams.sources import SOURCES, File

Progress = Callable[[str, int, int], None]
"""Called while a file is downloaded with its name, the bytes so far and the bytes in all."""


class DataError(UserError):
    """A data set, or a stream over it, that cannot be had as asked; says what to do instead."""


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


# ---- download: to a part of its own, checked before it takes its place

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**16


class _MirrorError(Exception):
    """One mirror did not give the file; the next one may."""


def _download(
    file: File, name: str, mirrors: tuple[str, ...], target: Path, progress: Progress | None
) -> None:
    """Fetch `file` to `target`, which only ever holds the whole, checked file."""
    reasons = []
    try:
        with cache.placed(target) as part:
            for mirror in mirrors:
                try:
                    return _fetch(mirror + file.name, file, part, progress)
                except _MirrorError as error:
                    reasons.append(f"{mirror}{file.name}: {error}")
            raise DataError(_not_downloaded(file, name, reasons))
    except OSError as error:
        raise DataError(
            f"Could not write `{target}`, to which a file of {name} is downloaded: {error}. Make "
            "room or name another cache (NEOTENY_CACHE=DIR), or name a folder that has the files "
            "(`--data DIR`)."
        ) from error


def _not_downloaded(file: File, name: str, reasons: list[str]) -> str:
    names = ", ".join(other.name for other in SOURCES[name].files)
    return (
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
