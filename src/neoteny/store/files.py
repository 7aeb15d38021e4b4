"""Files that are whole or not there: replaced at once, checked when read, locked by one writer.

What the steps of a replacement are for:

- **A process killed at any instant** needs the rename alone: what was written is the
  kernel's, and outlives the process. No flush is needed for that.
- **A machine that loses power** may keep a rename and lose the content, so `replace` flushes
  the content first: a name never stands for half a file. It may also keep a later rename and
  lose an earlier one in the same folder, so whoever needs an order flushes the folder
  between the two (`flush_folder`), and so does whoever promises that a change will stay.
"""

import fcntl
import os
import secrets
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from neoteny import npy
from neoteny.errors import UserError


class StoreError(UserError):
    """A run's folder cannot be used as asked; the message is meant for the user."""


def write_text(path: Path | str, text: str) -> None:
    """Put `text` in the place of `path`, with its folders: whole and durable, or not at all."""
    # Bytes of a message that are no text become escapes, which in JSON stand for themselves.
    content = text.encode(errors="backslashreplace")
    write_file(path, lambda file: file.write_bytes(content))


def write_file(path: Path | str, write: Callable[[Path], Any]) -> None:
    """Put what `write` writes in the place of `path`, with its folders: durable, or not at all."""
    path = Path(path).absolute()
    make_folder(path.parent)
    replace(path, write)
    flush_folder(path.parent)


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Put what `write` writes in the place of `path`, whole or not at all.

    The content is on disk when this returns; the name is once the folder is flushed.
    """
    # a name of its own: several processes may put a file in this place, each whole
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(unwritable(path, error)) from error
        raise


def make_folder(folder: Path) -> None:
    """Make `folder` with those above it, if it is not there; its name is on disk from then on."""
    try:
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(unwritable(folder, error)) from error
    for path in new:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Return once all names in `folder` are on disk as they are now."""
    try:
        _flush(folder)
    except OSError as error:
        raise StoreError(unwritable(folder, error)) from error


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(folder: Path) -> None:
    """Sweep away what a killed writer left half written."""
    for path in [*folder.glob(".*.tmp"), *folder.glob("spectra/.*.tmp")]:
        path.unlink()


# ---- arrays


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """An .npz file: what `np.savez` writes, but for any names, and never a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.kind in "OV":
                raise StoreError(
                    f"Array `{name}` has dtype {array.dtype}, which a checkpoint cannot hold. "
                    "Pass numbers of NumPy's own, as with `.view(np.uint16)` for bfloat16."
                )
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, each checked against its CRC; pickles are refused.

    Memory grows with the file: arrays are stored as they are, so none can be larger than that.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
            if declared > path.stat().st_size:
                raise ValueError(f"it declares {declared:,} bytes of arrays, more than it has")
            members = {name: archive.read(name) for name in archive.namelist()}
        return {name.removesuffix(".npy"): npy.parse(content) for name, content in members.items()}
    except Exception as error:  # a damaged archive raises whatever its parser stumbles over
        raise StoreError(damaged(path, str(error) or type(error).__name__)) from error


def checkpoint(task: int, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's file holds: the number of finished tasks, and `arrays`."""
    if "task" in arrays:
        raise StoreError("`arrays` has the name `task`, which the checkpoint needs itself.")
    return {"task": np.array([task, len(arrays)]), **arrays}


def read_checkpoint(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The number of finished tasks and the arrays, none missing."""
    arrays = read_arrays(path)
    head = arrays.pop("task", np.array([]))
    if head.shape != (2,) or head[1] != len(arrays):
        raise StoreError(damaged(path, "arrays are missing"))
    return int(head[0]), arrays


# ---- the lock


def lock(folder: Path, patience: float = 0.5) -> int:
    """Hold the folder's lock; the kernel lets go of it when the returned handle closes."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(unwritable(folder, error)) from error
    try:
        _wait_for_lock(handle, folder, patience)
        with suppress(OSError):  # a full disk, of which the run's own files will tell
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Have `folder`, made if need be, to oneself: others who ask likewise wait."""
    make_folder(folder)
    handle = lock(folder, patience=60.0)
    try:
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int, folder: Path, patience: float = 0.5) -> None:
    # a reader may hold it for an instant, and a worker outlives a killed parent by as much
    for _ in range(round(patience * 100)):
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError as error:
            raise StoreError(
                f"`{folder}` lies on a file system without locks ({error.strerror}), where two "
                "processes could mix a run. Pass an --out on another one, or mount it with locks."
            ) from error
    pid = os.pread(handle, 20, 0).decode(errors="replace") or "unknown"
    raise StoreError(
        f"`{folder}` is being run by another process (pid {pid}). Wait for it to end, or pass "
        "another --out."
    )


def refuse_locked(folder: Path) -> None:
    """Say so if a process that lives holds the folder's lock."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR)
    except OSError:
        return
    try:
        _wait_for_lock(handle, folder)
    finally:
        os.close(handle)


def is_locked(folder: Path) -> bool:
    """Whether a process that lives holds the folder's lock."""
    try:
        handle = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks, on which nobody can be writing
        return False
    finally:
        os.close(handle)


# ---- what is said when a file cannot be read or written


def damaged(path: Path, reason: str) -> str:
    """The message for a file of a run that cannot be what was written."""
    run = path.parent.parent if path.parent.name == "spectra" else path.parent
    return (
        f"`{path}` is damaged: {reason.rstrip('.')}. Restore the file, or remove the folder "
        f"`{run}` to run it afresh."
    )


def unwritable(path: Path, error: OSError) -> str:
    """The message for a file or folder that the system would not let us write."""
    reason = error.strerror or str(error).rstrip(".")
    return (
        f"`{path}` cannot be written: {reason}. Nothing that was committed is lost; make room or "
        "set permissions and run the same command again, or pass another --out."
    )
