"""Which objects are small. A data set of them gets finer stripes, and there the generator is not asked which."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from unseg_core.stripes import SMALL


def small_objects(mask_HW: np.ndarray) -> np.ndarray:
    """Where objects are small, bool HxW, for where there are objects.

    An object is what hangs together, by sides of pixels; masks of several objects need not tell them apart. It is small
    if the root of its area is less than SMALL of the longer side of the image.
    """
    labels, _ = ndimage.label(mask_HW)
    areas = np.bincount(labels.ravel())
    small = areas < (SMALL * max(mask_HW.shape)) ** 2
    small[0] = False
    where: np.ndarray = small[labels]
    return where
