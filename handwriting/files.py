"""Files that are either whole or not there, and that tell when they are damaged.

Archives of arrays and JSON carry a FORMAT_VERSION and a checksum of all that is in them. Files that
are older, or by other programs, have neither, and are read for what they are. What files mean is
left to the modules that read them, HDF5 to `formats.py`, files of tensors to `checkpoint.py`.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

FORMAT_VERSION = 1

# What a file says of itself, by name: in an archive each is an array, in JSON an entry.
_VERSION, _CHECKSUM = "format_version", "checksum"


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a crash at any time, finds the old file or the new.

    Writes to a temporary name in the same folder, then renames. What a killed process left under
    that name is overwritten by the next.

    Raises:
        OSError: the folder does not exist or cannot be written, or is full; names `path`, which is
            untouched.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        # Not NamedTemporaryFile: its files are readable by their owner alone.
        with _alone(temporary) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        folder = os.open(path.parent, os.O_RDONLY)  # with which the rename reaches the disk
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _naming(error, path) from error


def read_bytes(path: Path) -> bytes:
    """All of a file.

    Raises:
        OSError: it cannot be read; names it, also where the system says no more than that.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _naming(error, path) from error


def _naming(error: OSError, path: Path) -> OSError:
    if error.errno is None:
        return error
    return OSError(error.errno, error.strerror, str(path))


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written anew; other processes and threads that ask for it so wait."""
    while True:
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had it may have renamed it: what is locked is then no longer at this name.
            if _is_at(file, path):
                file.truncate(0)
                yield file
                return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """CRC-32 over names, types, shapes and values, in hex."""
    code = 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        code = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), code)
        code = zlib.crc32(array.tobytes(), code)
    return f"{code:08x}"


def check_marks(version: Any, found: Any, wanted: str, remedy: str = "") -> None:
    """Compare what a file says of itself, None if it says nothing, with what this program reads.

    Raises:
        ValueError: it is of a later version; or damaged, which the remedy is added to.
    """
    if version is not None and version != FORMAT_VERSION:
        raise ValueError(f"format version {version}, this program reads {FORMAT_VERSION}")
    if found is not None and found != wanted:
        raise ValueError(f"damaged, its checksum is wrong{remedy}")


def pack_npz(arrays: Mapping[str, Any]) -> bytes:
    """A compressed .npz file of arrays; the same arrays give the same bytes."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    marks = {_VERSION: FORMAT_VERSION, _CHECKSUM: checksum(arrays)}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays, **marks)
    return packed.getvalue()


def unpack_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, of `pack_npz` or of another program; nothing is unpickled.

    Raises:
        OSError: the file cannot be read; names it.
        ValueError: it is damaged, none, or of a later version; says why.
    """
    data = read_bytes(path)
    try:
        arrays = dict(_members(data))
    except Exception as error:  # damaged bytes make the readers of both formats raise anything
        raise ValueError(f"damaged, or no .npz file: {one_line(error)}") from error
    version, found = (arrays.pop(name, None) for name in (_VERSION, _CHECKSUM))
    check_marks(
        None if version is None else version.tolist(),
        None if found is None else found.tolist(),
        checksum(arrays),
    )
    return arrays


def _members(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            # As a whole: zipfile checks what it has read to the end, and numpy may stop before.
            member = io.BytesIO(archive.read(name))
            array = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):
                raise ValueError(f"{name} is longer than its array")
            yield name.removesuffix(".npy"), array


def pack_json(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """A JSON file of an object."""
    content = json.loads(json.dumps(content))  # as it will be read: with texts for keys
    marks = {_VERSION: FORMAT_VERSION, _CHECKSUM: _json_checksum(content)}
    return (json.dumps({**marks, **content}, indent=indent) + "\n").encode()


def unpack_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file, of `pack_json` or of another program.

    Raises:
        OSError: the file cannot be read; names it.
        ValueError: it is damaged, holds no object, or is of a later version; says why.
    """
    data = read_bytes(path)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged, or no JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    version, found = (content.pop(name, None) for name in (_VERSION, _CHECKSUM))
    remedy = f'; if it was edited on purpose, take "{_CHECKSUM}" out'
    check_marks(version, found, _json_checksum(content), remedy)
    return content


def _json_checksum(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def one_line(error: Exception) -> str:
    """What an error says, or else its name."""
    return " ".join(str(error).split()) or type(error).__name__
