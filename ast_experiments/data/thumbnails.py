"""Small pictures of samples as data URIs, for pages that need no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Images, Samples
from ast_experiments.data.encoded.images import EncodedImages

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 64
"""Largest height and width of a thumbnail in pixels."""

LOSSLESS = 32
"""Largest side of images that are kept as they are, as PNG; larger ones become JPEG."""


def thumbnails(samples: Samples, rows: Sequence[int] | np.ndarray, side: int = SIDE) -> list[str]:
    """Draws the raw images of some samples, as they are before augmentation.

    Args:
        samples: Training samples.
        rows: Rows of the samples.
        side: Longest side of a thumbnail in pixels; smaller images keep their size.

    Returns:
        A data URI of a PNG or JPEG for each row; empty for an image that cannot be read.
    """
    return [_thumbnail(samples, int(row), side) for row in rows]


def _thumbnail(samples: Samples, row: int, side: int) -> str:
    try:
        pixels = _pixels(samples, row, side)
    except DataError:
        return ""
    return "" if pixels is None else data_uri(pixels, side)


def _pixels(samples: Samples, row: int, side: int) -> np.ndarray | None:
    """Returns the pixels of an image, uint8, shape (h, w, c), or None for samples of a kind without pixels."""
    if isinstance(samples, Images):
        return samples.images[row]
    if isinstance(samples, EncodedImages):
        image = samples.image(row)
        scale = min(1.0, side / max(1, min(image.height, image.width)))
        return image.crop(0, 0, image.height, image.width, scale).numpy()
    return None


def data_uri(pixels: np.ndarray, side: int = SIDE) -> str:
    """Encodes an image, uint8, shape (h, w, c), shrunk to at most `side` pixels; grey unless c is at least 3."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, 0]))
    picture.thumbnail((side, side))
    kind = "png" if max(pixels.shape[:2]) <= LOSSLESS else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(_encoded(picture, kind)).decode()}"


def _encoded(picture: Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": 80}))
    return buffer.getvalue()


def place(samples: Samples, row: int) -> str:
    """Returns where an encoded image lies, such as the path of its file; empty for images in memory."""
    return samples.store.where(row) if isinstance(samples, EncodedImages) else ""
