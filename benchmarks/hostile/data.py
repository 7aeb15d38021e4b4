"""What data sets are read from: official files, plain arrays, folders of images, the cache."""

import gzip
import io
import os
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from hostile import archives, mutations
from hostile.reader import Reader
from hostile.stored import arrays


class _Sound(NamedTuple):
    files: list[bytes]
    canary: str
    members: dict[str, bytes]


def _canary(folder: Path) -> str:
    return str(folder.parent / "canary")


# ---- IDX


def _idx(folder: Path) -> _Sound:
    labels = struct.pack(">BBBBI", 0, 0, 8, 1, 5) + bytes(range(5))
    images = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 4, 4) + bytes(32)
    floats = struct.pack(">BBBBI", 0, 0, 0x0E, 1, 2) + struct.pack(">dd", 1, float("nan"))
    plain = [labels, images, floats]
    return _Sound([*plain, *(gzip.compress(one, 1) for one in plain), archives.bomb(2**28)], "", {})


def _spoilt_idx(random: Random, sound: _Sound) -> bytes:
    content = random.choice(sound.files)
    if random.random() < 0.3:
        count = random.choice((1, 3, 64, 255))
        sizes = [random.choice(mutations.NUMBERS) % 2**32 for _ in range(count)]
        content = struct.pack(f">BBBB{count}I", 0, 0, random.choice((8, 9, 11, 14)), count, *sizes)
        content += bytes(50)
        content = gzip.compress(content, 1) if random.random() < 0.5 else content
    return mutations.spoilt(random, content, sound.files) if random.random() < 0.8 else content


def _read_idx(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny.streams.idx import read_idx

    (folder / "x").write_bytes(content)
    read_idx(folder / "x")


# ---- CIFAR's archives


def _cifar(folder: Path) -> _Sound:
    members = {
        "cifar-100-binary/train.bin": bytes(range(256)) * 12 + b"\1\2",
        "cifar-100-binary/test.bin": bytes(3074),
    }
    sound = archives.tarred(Random(3), members)
    return _Sound(
        [sound, archives.bomb(2**25), gzip.compress(b"x" * 2000)], _canary(folder), members
    )


def _spoilt_cifar(random: Random, sound: _Sound) -> bytes:
    if random.random() < 0.3:
        return mutations.spoilt(random, random.choice(sound.files), sound.files)
    members = dict(sound.members)
    if random.random() < 0.3:
        members[random.choice([*members])] = os.urandom(0) + bytes(
            random.choice((0, 1, 3073, 6148))
        )
    return archives.tarred(random, members)


def _read_cifar(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny.streams.archives import read_cifar

    (folder / "x.tar.gz").write_bytes(content)
    read_cifar("cifar100", [folder / "x.tar.gz"])


# ---- plain arrays


def _plain(folder: Path) -> _Sound:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    files = []
    for save in (np.savez, np.savez_compressed):
        target = io.BytesIO()
        labels = np.array([0, 1])
        save(
            target, train_images=images, train_labels=labels, test_images=images, test_labels=labels
        )
        files.append(target.getvalue())
    return _Sound(files, _canary(folder), {})


def _spoilt_plain(random: Random, sound: _Sound) -> bytes:
    return arrays(random, sound.files, sound.canary)


def _read_plain(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import streams

    (folder / "own.npz").write_bytes(content)
    streams.load("own", folder=folder)


# ---- pictures: in official archives, in folders, and kept in the cache


def _pictures(folder: Path) -> _Sound:
    from PIL import Image

    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    files = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "EPS", "PCX", "TGA", "ICO"):
        target = io.BytesIO()
        image.save(target, kind)
        files.append(target.getvalue())
    return _Sound(files, _canary(folder), {})


def _picture(random: Random, sound: _Sound) -> bytes:
    choice = random.random()
    if choice < 0.15:  # one of many pixels, of which a few are there
        width, height = random.choice(
            ((30_000, 30_000), (2**31 - 1, 1), (13_000, 13_000), (9000, 9000))
        )
        body = struct.pack(
            ">IIBBBBB", width, height, random.choice((8, 16)), random.choice((0, 2, 6)), 0, 0, 0
        )
        return (
            b"\x89PNG\r\n\x1a\n"
            + _chunk(b"IHDR", body)
            + _chunk(b"IDAT", _ZEROS)
            + _chunk(b"IEND", b"")
        )
    if choice < 0.2:
        return _PROGRAM
    return mutations.spoilt(random, random.choice(sound.files), sound.files)


_PROGRAM = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    b"(x) (w) file closefile\nshowpage\n"
)
_ZEROS = zlib.compress(bytes(10**7))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _read_folder(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import streams

    root = folder / "root"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(2):
            (root / name / f"{number}.png").write_bytes(sound.files[0])
    (root / "a" / "0.png").write_bytes(content)
    streams.load(f"folder:{root}@8")


def _tree(random: Random, sound: _Sound) -> bytes:
    """Names, links and kinds of files, one a line."""
    names = (
        "a/x", "a/y", "b/x", "b/y", "a", "train/a/x", "test/a/x", "train", ".a/x", "Thumbs.db",
        "a/\udcff", "c/c/c/x", "c/x", "c/y",
    )  # fmt: skip
    kinds = ("file", "file", "file", "up", "loop", "gone", "secret", "pipe", "folder", "root")
    chosen = [f"{random.choice(kinds)} {random.choice(names)}" for _ in range(random.randrange(14))]
    if random.random() < 0.6:
        chosen = ["file a/1", "file a/2", "file b/1", "file b/2", *chosen[:4]]
    return "\n".join(chosen).encode("utf-8", "surrogateescape")


def _read_tree(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import streams

    root = folder / "root"
    root.mkdir()
    for line in content.splitlines():
        kind, _, name = line.partition(b" ")
        path = root / os.fsdecode(name)
        if os.path.lexists(path) or not Path(os.path.realpath(path)).is_relative_to(root):
            continue  # the place is taken, or elsewhere
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == b"file":
                path.write_bytes(sound.files[0])
            elif kind == b"pipe":
                os.mkfifo(path)
            elif kind == b"folder":
                path.mkdir()
            else:
                where = {
                    b"up": "..",
                    b"loop": path.name,
                    b"gone": "nosuch",
                    b"secret": "/etc/passwd",
                }
                path.symlink_to(where.get(kind, root))
        except OSError:
            continue
    streams.load(f"folder:{root}@8")


def _letters(folder: Path) -> _Sound:
    from PIL import Image

    target = io.BytesIO()
    Image.new("1", (105, 105), 1).save(target, "PNG")
    names = [
        f"images_background/A/character01/{c:04d}_{d:02d}.png" for c in (1, 2) for d in (1, 2, 16)
    ]
    members = dict.fromkeys(names, target.getvalue())
    return _Sound([_zip(members), *_pictures(folder).files], _canary(folder), members)


def _photographs(folder: Path) -> _Sound:
    jpeg = _pictures(folder).files[1]
    root = "tiny-imagenet-200"
    members = {f"{root}/train/n0{c}/images/n0{c}_{d}.JPEG": jpeg for c in (1, 2) for d in (1, 2)}
    members |= {f"{root}/val/images/val_{c}.JPEG": jpeg for c in (1, 2)}
    notes = "".join(f"val_{c}.JPEG\tn0{c}\t0\t0\t1\t1\n" for c in (1, 2))
    members[f"{root}/val/val_annotations.txt"] = notes.encode()
    return _Sound([_zip(members), *_pictures(folder).files], _canary(folder), members)


def _zip(members: dict[str, bytes]) -> bytes:
    return archives.zipped(Random(8), members)


def _spoilt_zip(random: Random, sound: _Sound) -> bytes:
    if random.random() < 0.3:
        return mutations.spoilt(random, sound.files[0], sound.files)
    members = dict(sound.members)
    name = random.choice([*members])
    choice = random.random()
    if choice < 0.4:
        members[name] = _picture(random, _Sound(sound.files[1:], "", {}))
    elif choice < 0.5:
        members[name.replace("1", "9999", 1)] = members.pop(name)
    elif choice < 0.6:
        members[name] = mutations.spoilt(random, members[name], sound.files)
    elif choice < 0.65:
        members[name] = bytes(2**21)
    return archives.zipped(random, members)


def _read_letters(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny.streams import arrays, image_archives

    (folder / "x.zip").write_bytes(content)
    found = image_archives.read_omniglot([folder / "x.zip"])
    arrays.to_dataset("own", found, "x.zip")


def _read_photographs(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny.streams import arrays, image_archives

    (folder / "x.zip").write_bytes(content)
    found = image_archives.read_tiny_imagenet([folder / "x.zip"])
    arrays.to_dataset("own", found, "x.zip")


def _kept(folder: Path) -> _Sound:
    target = io.BytesIO()
    np.save(target, np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3))
    return _Sound([target.getvalue(), *_pictures(folder).files[:1]], _canary(folder), {})


def _spoilt_kept(random: Random, sound: _Sound) -> bytes:
    if random.random() < 0.6:
        return archives.npy(random, sound.files[0], sound.canary)
    return mutations.spoilt(random, sound.files[0], sound.files)


def _read_kept(content: bytes, sound: _Sound, folder: Path) -> None:
    from neoteny import streams

    root = folder / "root"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(2):
            (root / name / f"{number}.png").write_bytes(sound.files[1])
    streams.load(f"folder:{root}@8")
    (path,) = Path(os.environ["NEOTENY_CACHE"]).rglob("train_images.npy")
    path.write_bytes(content)
    streams.load(f"folder:{root}@8")


# ---- downloads


def _mirror(folder: Path) -> _Sound:
    return _Sound([b"x" * 1000, b"x" * 999, b"x" * 2000, b""], "", {})


def _sent(random: Random, sound: _Sound) -> bytes:
    return mutations.spoilt(random, random.choice(sound.files), sound.files)


def _download(content: bytes, sound: _Sound, folder: Path) -> None:
    import hashlib

    from neoteny import streams
    from neoteny.streams import sources

    (folder / "cifar-10-binary.tar.gz").write_bytes(content)
    file = sources.File("cifar-10-binary.tar.gz", 1000, hashlib.sha256(sound.files[0]).hexdigest())
    sources.SOURCES["cifar10"] = sources.Source((f"{folder.as_uri()}/",), (file,))
    streams.load("cifar10")


READERS: dict[str, Any] = {
    "idx": Reader(_idx, _spoilt_idx, _read_idx, 12, (ValueError,)),
    "cifar": Reader(_cifar, _spoilt_cifar, _read_cifar, 6),
    "arrays": Reader(_plain, _spoilt_plain, _read_plain, 10),
    "omniglot": Reader(_letters, _spoilt_zip, _read_letters, 3),
    "tiny-imagenet": Reader(_photographs, _spoilt_zip, _read_photographs, 2),
    "picture": Reader(_pictures, _picture, _read_folder, 5),
    "folder": Reader(_pictures, _tree, _read_tree, 2),
    "cached": Reader(_kept, _spoilt_kept, _read_kept, 2),
    "download": Reader(_mirror, _sent, _download, 1),
}
