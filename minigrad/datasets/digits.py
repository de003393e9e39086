"""The small set of handwritten digits that comes with minigrad.

`LICENSE-digits.md` names its source and licence.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


@overload
def load_digits(
    *, raw: Literal[False] = False, enlarged: bool = True
) -> tuple[Floats, Labels, Floats, Labels]: ...
@overload
def load_digits(
    *, raw: Literal[True], enlarged: bool = True
) -> tuple[Bytes, Labels, Bytes, Labels]: ...
def load_digits(
    *, raw: bool = False, enlarged: bool = True
) -> tuple[Floats | Bytes, Labels, Floats | Bytes, Labels]:
    """Load 1,797 images of handwritten digits, without a network connection.

    They are the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C.
    Kaynak (https://doi.org/10.24432/C50P49, CC BY 4.0), 8 x 8 pixels each. Every fifth image is
    held out for testing, so the split is the same each time: 1,438 images to train on and 359 to
    test with. Every call returns new arrays.

    Args:
        raw: Leave the pixels as bytes from 0 to 16; to scale them, multiply by 1/16.
        enlarged: Show each image as 28 x 28 pixels, so that a network for MNIST fits it; otherwise
            as 8 x 8.

    Returns:
        `x_train, y_train, x_test, y_test`. Images are float32 from 0 (paper) to 1 (ink), or uint8
        if `raw`, of shape (n, 784), or (n, 64) if not `enlarged`; labels are int64 from 0 to 9, of
        shape (n,).
    """
    with (
        (files("minigrad.datasets") / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        images: Bytes = arrays["images"]
        labels: Labels = arrays["labels"].astype(np.int64)
    if enlarged:
        images = enlarge(images)
    x: Floats | Bytes = images.reshape(len(images), -1)
    if not raw:
        x = x.astype(np.float32) / np.float32(16)
    held_out = np.arange(len(x)) % 5 == 4
    return x[~held_out], labels[~held_out], x[held_out], labels[held_out]


def enlarge(images: Bytes) -> Bytes:
    """Each pixel as 3 x 3 pixels, in a border of two zero pixels: (n, 8, 8) -> (n, 28, 28)."""
    tripled = images.repeat(3, axis=1).repeat(3, axis=2)
    return np.pad(tripled, ((0, 0), (2, 2), (2, 2)))
