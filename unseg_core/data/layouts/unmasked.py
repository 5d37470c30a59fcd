"""A folder of images without masks: every image is one object from edge to edge, as `--prompt whole` protects it."""

from __future__ import annotations

import io
import warnings
from functools import partial

import numpy as np
from PIL import Image

from unseg_core import storage
from unseg_core.data.layouts.layout import Request
from unseg_core.data.layouts.pairs import BINARY, Naming, PairsLayout, list_images
from unseg_core.data.layouts.splits import choose_split
from unseg_core.data.sample import Annotation, segment_of
from unseg_core.errors import ParameterError
from unseg_core.images import MAX_PIXELS, undecodable


def open_unmasked(name: str, request: Request, naming: Naming) -> PairsLayout:
    """List the images.

    Raises:
        DataError: there are none, or two share a name but for the extension.
        ParameterError: unknown split, or classes, which need masks.
    """
    if request.classes not in ((), BINARY):
        raise ParameterError(f"{request.root} has no masks, so it has no classes; leave the classes out or add masks")
    chosen = choose_split(request.root, request.split, list_images(request.root, naming), {})
    return PairsLayout(
        name=name,
        root=request.root,
        classes=BINARY,
        images=chosen.images,
        masks_folder=request.root,
        masks={},
        own_masks=None,
        read=partial(read_whole, request.root),
        missing=chosen.missing,
    )


def read_whole(root: str, image: str, mask: str | None) -> Annotation:
    """One object of the image's size, which its header says.

    Raises:
        DataError: the image cannot be read.
    """
    data = storage.read_file(storage.join(root, image))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise ValueError(f"it claims {width}x{height} pixels, over the limit of {MAX_PIXELS:,}")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise undecodable(image, error) from None
    whole = segment_of(np.ones((height, width), dtype=bool), 1)
    return Annotation(height=height, width=width, segments=(whole,))
