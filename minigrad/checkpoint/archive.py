"""The file of a checkpoint: a tree of settings and arrays, with a checksum and without pickle.

It is an `.npz` file, so `numpy.load(path)` opens it. Each array is a member of its own, named by
its path in the tree: "model/0.weight". Everything else lies in the member "meta", as JSON in UTF-8.
The comment of the ZIP file, its last 93 bytes, is

    minigrad checkpoint 1 sha256 <64 hexadecimal digits>

where 1 is the version of the format, and the digits are the SHA-256 of everything before them.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._printable import printable
from minigrad.errors import DataFileError, KindError
from minigrad.files import named_errors, open_regular, replacing
from minigrad.parameters.names import LONGEST_NAME

Tree: TypeAlias = Mapping[str, Any]
"""Names to numbers, text, arrays, lists, and trees again."""

VERSION = 1
_DIGITS = 64
_COMMENT = re.compile(rb"minigrad checkpoint (\d+) sha256 ([0-9a-f]{64})")
_LONGEST = 128  # bytes in which a comment of any version is found
_KINDS = "biufSU"  # of the dtypes of arrays: numbers and text
_ARRAY = "array in"  # the key that stands for an array in the JSON


def write(path: str | os.PathLike[str], tree: Tree) -> None:
    """Write a tree into a file: all of it and on the disk, or after an error not at all.

    Raises:
        KindError: The tree holds something else than numbers, text, arrays, lists and trees.
        DataFileError: The file cannot be written; what was there is unchanged.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    meta = json.dumps(_without_arrays(tree, "", arrays)).encode()
    with named_errors(path, "the checkpoint"), replacing(Path(path), durable=True) as new:
        with _zip_file(new) as file:
            for name, array in {"meta": np.frombuffer(meta, np.uint8), **arrays}.items():
                # With a date of its own each file would differ; equal states give equal bytes.
                with file.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            file.comment = f"minigrad checkpoint {VERSION} sha256 {'0' * _DIGITS}".encode()
        with new.open("r+b") as raw:
            digest = _digest(raw, new.stat().st_size - _DIGITS)
            raw.seek(-_DIGITS, os.SEEK_END)
            raw.write(digest)


@contextmanager
def _zip_file(path: Path) -> Iterator[ZipFile]:
    """A new ZIP file that is completed unless there is an error, which goes on as it is.

    Completing it then, as ZipFile does, may fail, and that would be the error, and no Ctrl-C.
    """
    file = ZipFile(path, "w", ZIP_STORED)
    try:
        yield file
    except BaseException:
        raw, file.fp = file.fp, None  # which is how it knows that it is closed
        if raw is not None:
            raw.close()
        raise
    file.close()


def check(tree: Tree, what: str) -> None:
    """Make sure that a file can hold a tree.

    Raises:
        KindError: It cannot.
    """
    _without_arrays(tree, what, {})


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tree that `write` was given, arrays and all.

    Raises:
        DataFileError: There is no such file, it is no checkpoint, of a later version, truncated or
            damaged, or no regular file.
    """
    where = f"the checkpoint '{os.fspath(path)}'"
    try:
        file = open_regular(path)
    except (OSError, ValueError) as error:  # a path with a zero in it is a ValueError
        why = getattr(error, "strerror", None) or error
        raise DataFileError(f"{where} cannot be read: {why}") from error
    try:
        with file:
            _check(file, where)
            arrays = _arrays(file, where)
        meta = arrays.pop("meta").tobytes().decode()
        tree: dict[str, Any] = json.loads(meta, object_hook=partial(_with_array, arrays))
        return tree
    except DataFileError:
        raise
    except OSError as error:
        raise DataFileError(f"{where} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # what ZIP, NumPy and JSON make of a file that others have sealed
        message = f"{type(error).__name__}: {error}"[:200]  # NumPy's are as long as a header
        raise _foreign(where, message) from error


def _foreign(where: str, why: str) -> DataFileError:
    return DataFileError(f"{where} is no checkpoint that minigrad has written: {why}")


def _check(file: io.BufferedReader, where: str) -> None:
    """Look at the version and the checksum, before anything is believed."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST))
    end = file.read()
    comment = _COMMENT.search(end)
    if comment is None:
        problem = "is empty" if size == 0 else "is truncated, or no checkpoint of minigrad"
        raise DataFileError(
            f"{where} {problem}; expected a file that minigrad.save has written ({size:,} bytes "
            f"found)"
        )
    if int(comment[1]) != VERSION:
        raise DataFileError(
            f"{where} has version {int(comment[1])} of the format, and this minigrad reads version "
            f"{VERSION}; update minigrad"
        )
    if comment.end() != len(end) or _digest(file, size - _DIGITS) != comment[2]:
        raise DataFileError(
            f"{where} is damaged: its content does not have the checksum that it names"
        )


def _digest(file: io.BufferedRandom | io.BufferedReader, size: int) -> bytes:
    """The SHA-256 of the first `size` bytes, in hexadecimal digits."""
    sha, left = hashlib.sha256(), size
    file.seek(0)
    while left > 0:
        block = file.read(min(left, 1 << 20))
        if not block:
            break
        sha.update(block)
        left -= len(block)
    return sha.hexdigest().encode()


def _arrays(file: io.BufferedReader, where: str) -> dict[str, npt.NDArray[Any]]:
    """All arrays, by name; together they are never larger than the file, whatever it claims."""
    size = file.seek(0, os.SEEK_END)
    arrays: dict[str, npt.NDArray[Any]] = {}
    with ZipFile(file) as members:
        for info in members.infolist():
            name = info.filename.removesuffix(".npy")
            size -= info.file_size
            if info.compress_type != ZIP_STORED:
                raise _foreign(where, f"its member {described(info.filename)} is compressed")
            if size < 0:
                raise _foreign(where, "its members claim more bytes than it has")
            if name in arrays:
                raise _foreign(where, f"it has two members {described(name)}")
            with members.open(info) as member:
                _check_array(member, info, where)
                member.seek(0)
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def _check_array(member: IO[bytes], info: ZipInfo, where: str) -> None:
    """Look at the header of an array, before any memory is taken for it."""
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise _foreign(where, f"its member {described(info.filename)} has version {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype.kind not in _KINDS:
        raise _foreign(where, f"its member {described(info.filename)} has dtype {dtype}")
    size = math.prod(shape)
    claimed = member.tell() + size * dtype.itemsize  # texts may be so short that they take no bytes
    if min(shape, default=0) < 0 or claimed != info.file_size or size > info.file_size:
        raise _foreign(
            where,
            f"its member {described(info.filename)} has {info.file_size:,} bytes and claims "
            f"{described(shape)} entries of dtype {dtype}",
        )


def _without_arrays(thing: Any, name: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """`thing` as JSON takes it.

    Its arrays go into `arrays`, under the names by which it then refers to them.
    """
    if isinstance(thing, np.ndarray):
        if thing.dtype.kind not in _KINDS:
            raise KindError(
                f"a checkpoint cannot hold '{name}', an array of dtype {thing.dtype}; expected "
                f"numbers or text"
            )
        # ZIP cuts names at NUL, and has room for 65,535 bytes; the JSON knows the name as it is.
        member = printable(name)[:LONGEST_NAME]
        while member in arrays or member == "meta":
            member += "'"
        arrays[member] = thing
        return {_ARRAY: member}
    if isinstance(thing, Mapping):
        wrong = [key for key in thing if not isinstance(key, str) or key == _ARRAY]
        if wrong:
            raise KindError(
                f"a checkpoint cannot hold '{name}' with the key {described(wrong[0])}; expected "
                f"text as keys"
            )
        return {
            key: _without_arrays(inner, f"{name}/{key}" if name else key, arrays)
            for key, inner in thing.items()
        }
    if isinstance(thing, list | tuple):
        return [
            _without_arrays(inner, f"{name}/{index}", arrays) for index, inner in enumerate(thing)
        ]
    if isinstance(thing, np.generic):
        thing = thing.item()
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    raise KindError(
        f"a checkpoint cannot hold '{name}', a {type(thing).__name__}; expected numbers, text or "
        f"arrays"
    )


def _with_array(arrays: Mapping[str, npt.NDArray[Any]], inner: dict[str, Any]) -> Any:
    """What JSON has for a dict: itself, or the array that it stands for."""
    return arrays[inner[_ARRAY]] if inner.keys() == {_ARRAY} else inner
