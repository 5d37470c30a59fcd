"""COCO run-length encoding without a detour over one full-size mask per segment, and checks of foreign RLE.

An RLE counts, column by column, pixels outside, inside, outside, ... of a mask. The compressed form writes the
differences of counts two apart in groups of five bits (Lin et al., Microsoft COCO, ECCV 2014, and its API).
"""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from unseg_core.errors import DataError

Rle = dict[str, object]
"""`size` [height, width] and `counts` (compressed, bytes)."""


def segments_of_map(values_HW: np.ndarray) -> dict[int, Rle]:
    """RLE of every value of an integer map, in ascending order of the values; zero counts as any other."""
    height, width = values_HW.shape
    flat = values_HW.T.ravel()
    if not flat.size:
        return {}
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    ends = np.concatenate((starts[1:], [flat.size]))
    of_run = flat[starts]
    order = np.argsort(of_run, kind="stable")
    values, first = np.unique(of_run[order], return_index=True)
    runs = np.split(order, first[1:])
    return {
        int(value): _from_runs(starts[run], ends[run], height, width) for value, run in zip(values, runs, strict=True)
    }


def _from_runs(starts: np.ndarray, ends: np.ndarray, height: int, width: int) -> Rle:
    """RLE of pixels starts[i]..ends[i] (exclusive), ascending and apart."""
    edges = np.stack((starts, ends), axis=1).ravel()
    counts = np.diff(edges, prepend=0, append=height * width)
    return compress(counts if counts[-1] else counts[:-1], height, width)


def compress(counts: np.ndarray, height: int, width: int) -> Rle:
    """Compressed RLE of checked counts."""
    rle: Rle = coco_mask.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return rle


def checked_rle(rle: object, height: int, width: int) -> Rle:
    """RLE from a file, compressed or a list of counts, as compressed RLE of this size.

    Raises:
        DataError: it is no RLE, or of another size.
    """
    if not isinstance(rle, dict) or "counts" not in rle or "size" not in rle:
        raise DataError("an RLE has no size or no counts")
    size = rle["size"]
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise DataError(f"an RLE is of size {size} but the image of {[height, width]} (height, width)")
    counts = _counts(rle["counts"])
    if counts.size == 0 or counts.min() < 0 or int(counts.sum()) != height * width:
        raise DataError(f"an RLE counts {int(counts.sum())} pixels of {height * width}")
    return compress(counts, height, width)


def _counts(counts: object) -> np.ndarray:
    """int64 counts of either form."""
    try:
        if isinstance(counts, str | bytes):
            return decompress(counts.encode("ascii") if isinstance(counts, str) else counts)
        array = np.asarray(counts)
    except (ValueError, OverflowError):
        raise DataError("an RLE has counts that cannot be read") from None
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError("an RLE has counts that are not integers")
    return array.astype(np.int64)


MAX_GROUPS = 7
"""Five-bit groups of one number: more than any count of pixels needs."""


def decompress(text: bytes) -> np.ndarray:
    """Counts of a compressed RLE, int64.

    Raises:
        ValueError: characters that no RLE has, or a number without an end.
    """
    groups = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if groups.size == 0:
        return groups
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("no compressed RLE")
    last = np.flatnonzero((groups & 32) == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > MAX_GROUPS:
        raise ValueError("a number of an RLE is too long")
    shifts = 5 * (np.arange(groups.size) - np.repeat(first, lengths))
    numbers = np.add.reduceat((groups & 31) << shifts, first)
    numbers -= np.where(groups[last] & 16, 1 << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
