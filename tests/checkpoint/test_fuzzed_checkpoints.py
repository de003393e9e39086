"""Checkpoints changed at random: bytes, members, headers, JSON, mostly with the right checksum."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import pytest
from checkpoint_support import EVERYTHING, Bomb, members_of, meta_of, npy, resealed, sealed
from test_forged_checkpoints import Fit, changed, header, places

import minigrad as mg
from minigrad.errors import MinigradError

CASES = 1500 if EVERYTHING else 12

DTYPES = "'<f4' '<f8' '|u1' '|O' '<U0' '|V0' '<U1000000' '<c8' '<M8[D]' '|b1' [('a','<f4')] 'x' 7"
NUMBERS = [0, 1, 2, 5, 30, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**62, 10**15, 10**30, -1]
THINGS: list[Any] = [None, True, -1, 10**30, 1e308, float("nan"), "", "x\n\x1b[0m\0", [], {}, [{}]]

Change = Callable[[random.Random, bytes, dict[str, bytes]], bytes]


def some_bytes(rng: random.Random, content: bytes, _members: dict[str, bytes]) -> bytes:
    """Some bytes are others."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 255, rng.randrange(256)])
    return resealed(bytes(damaged)) if rng.random() < 0.8 else bytes(damaged)


def the_directory(rng: random.Random, content: bytes, _members: dict[str, bytes]) -> bytes:
    """Numbers in what the ZIP file says of its members are others."""
    damaged = bytearray(content)
    records = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"]
    for _ in range(rng.choice([1, 1, 3])):
        places = [at for record in records for at in found(content, record)]
        form = rng.choice(["<H", "<I", "<Q"])
        number = rng.choice(NUMBERS) % (1 << 8 * struct.calcsize(form))
        struct.pack_into(form, damaged, rng.choice(places) + rng.randrange(4, 40), number)
    return resealed(bytes(damaged))


def found(content: bytes, word: bytes) -> list[int]:
    """Where a word is."""
    places, at = [], content.find(word)
    while at >= 0:
        places.append(at)
        at = content.find(word, at + 1)
    return places


def a_piece(rng: random.Random, content: bytes, _members: dict[str, bytes]) -> bytes:
    """A piece is missing, or is there twice, or somewhere else."""
    a, b = sorted(rng.randrange(len(content)) for _ in range(2))
    c = rng.randrange(len(content))
    piece = content[a:b]
    pieces = (
        content[:a] + content[b:],
        content[:b],
        content[:c] + piece + content[c:],
        content[:a] + bytes(b - a) + content[b:],
    )
    end = content[-93:] if rng.random() < 0.7 else b""
    damaged = rng.choice(pieces) + end
    return resealed(damaged) if rng.random() < 0.8 and len(damaged) > 64 else damaged


def the_members(rng: random.Random, _content: bytes, members: dict[str, bytes]) -> bytes:
    """They have other names, are there twice, are exchanged, compressed, missing."""
    stream = io.BytesIO()
    names, contents = [*members], [*members.values()]
    for _ in range(rng.choice([1, 1, 2, 4])):
        number, other = rng.randrange(len(names)), rng.randrange(len(names))
        odd = ["", "/", "../x.npy", "meta", "x" * 5000, "a\nb\x1b\x00", names[other], "meta.npy"]
        what = rng.randrange(5)
        if what == 0:
            names[number] = rng.choice(odd)
        elif what == 1:
            names.append(rng.choice([names[number], rng.choice(odd)]))
            contents.append(contents[other])
        elif what == 2:
            contents[number], contents[other] = contents[other], contents[number]
        elif what == 3 and len(names) > 1:
            del names[number], contents[number]
        else:
            contents[number] = contents[number] * 2 + bytes(rng.choice([0, 1, 300_000]))
    compressed = rng.choice([-1, 0, len(names) - 1, rng.randrange(len(names))])
    with warnings.catch_warnings(action="ignore"), ZipFile(stream, "w") as file:
        for number, (name, content) in enumerate(zip(names, contents, strict=True)):
            info = ZipInfo("x")
            info.filename = name
            file.writestr(info, content, ZIP_DEFLATED if number == compressed else ZIP_STORED)
        file.comment = b"minigrad checkpoint 1 sha256 " + b"0" * 64
    return resealed(stream.getvalue())


def a_header(rng: random.Random, _content: bytes, members: dict[str, bytes]) -> bytes:
    """An array claims another shape or another dtype, or is another one."""
    member = rng.choice([*members])
    shape = tuple(rng.choice(NUMBERS) for _ in range(rng.choice([0, 1, 2, 2, 3, 70])))
    claim = header(repr(shape), rng.choice(DTYPES.split()))
    start = bytearray(members[member])
    start[rng.randrange(min(len(start), 128))] = rng.randrange(256)
    arrays = (np.zeros(0), np.arange(6), np.full((2, 3), np.inf), np.array(["a\0b", "\x1b"]))
    content = rng.choice(
        [
            claim,
            claim[:-8] + members[member][128:],
            bytes(start),
            npy(rng.choice(arrays)),
            npy(np.array([Bomb()], object), pickled=True),
            members[member].replace(b"False", b"True ", 1),
        ]
    )
    return sealed({**members, member: content})


def the_json(rng: random.Random, _content: bytes, members: dict[str, bytes]) -> bytes:
    """Something in it is something else, has another name, or is deep; or it is none."""
    meta = meta_of(members)
    for _ in range(rng.choice([1, 1, 2, 5])):
        everywhere = [*places(meta)]
        inner = meta
        for name in rng.choice(everywhere):
            inner = inner[name]
        arrays = [{"array in": rng.choice([*members]).removesuffix(".npy")} for _ in range(2)]
        meta = changed(
            meta, rng.choice(everywhere), rng.choice([*THINGS, inner, *arrays, rng.choice(NUMBERS)])
        )
    text = json.dumps(meta)
    if rng.random() < 0.2:
        place = rng.randrange(len(text))
        size = rng.choice([5, 1000, 100_000])
        text = (
            text[:place]
            + rng.choice(["[", '{"a":', "9", "\\u0000", '"', "é"]) * size
            + text[place:]
        )
    return sealed({**members, "meta.npy": npy(np.frombuffer(text.encode(), np.uint8))})


CHANGES: list[Change] = [some_bytes, the_directory, a_piece, the_members, a_header, the_json]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", CHANGES)
def test_anything(change: Change, tmp_path: Path) -> None:
    """One clear error, with the path, that changes nothing; or a training that can go on.

    It takes little more memory than an undamaged one, and twice the file.
    """
    path = tmp_path / "x"
    Fit(0).fit(path)
    content, members = path.read_bytes(), members_of(path)
    allowance = peak(path, Fit(1))[0] + 200_000  # for errors, and what reads ahead
    path = tmp_path / "y"
    fit, told = Fit(2), list[str]()
    times = 6 if change is the_json else 2  # JSON takes more than its text
    before = fit.bits
    first = int(os.environ.get("MINIGRAD_SEED", "0"))
    for seed in range(first, first + CASES):
        damaged = change(random.Random(seed), content, members)
        path.write_bytes(damaged)
        memory, error = peak(path, fit)
        assert memory < allowance + times * len(damaged), seed
        if error is None:
            with warnings.catch_warnings(action="ignore"), suppress(MinigradError):
                Fit(8).fit(resume_from=path)
            fit = Fit(2)
            continue
        assert isinstance(error, MinigradError), (seed, error)
        assert before == fit.bits, seed
        told.append(str(error))
        assert f"'{path}'" in told[-1] or told[-1].startswith("the checkpoint holds no"), seed
        assert len(told[-1]) < 2000 + len(damaged), seed  # which may have long names
    assert len(told) > CASES // 4


def peak(path: Path, fit: Fit) -> tuple[int, Exception | None]:
    """How many bytes of memory loading takes at most, and the error, if there is one."""
    tracemalloc.start()
    try:
        mg.load(path, **fit.parts)
    except Exception as error:  # noqa: BLE001 - whichever it is
        return tracemalloc.get_traced_memory()[1], error
    else:
        return tracemalloc.get_traced_memory()[1], None
    finally:
        tracemalloc.stop()
