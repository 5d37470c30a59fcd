"""CUDA: a random blur per class.

Sadasivan, Soltanolkotabi, Feizi: CUDA: Convolution-based Unlearnable Datasets, CVPR 2023. Every class has a filter with
1 in the centre and small uniform random values elsewhere, and an image is replaced by its convolution with it.

For segmentation each pixel takes the filter of its class. The paper has no budget; here the noise is the convolved
image minus the image, clipped to 8 levels, so that at epsilon 8 it is the nearest image within the budget. Filters are
divided by their sum, which keeps the brightness (the paper rescales the whole image), and the border is repeated.
A flat image stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unseg_core.data.sample import Target
from unseg_core.model.prompts import box_of
from unseg_core.protect.methods.class_map import class_map, stream
from unseg_core.protect.methods.method import Method

SIZE = 3
"""On photographs two classes then differ by 0.84 levels on average after clipping; with 9x9 (and 0.06) by 0.36."""
LARGEST = 0.3
"""Of the values around the centre."""
CLIP = 8.0
"""8-bit levels; the paper of UnSeg compares the methods at this budget."""
PARTS = 4096
"""Filters are multiples of 1/4096: all sums are exact in float32, so the same in any order and on any machine."""


@dataclass(frozen=True, kw_only=True)
class ConvolutionNoise(Method):
    """A method: the image convolved with its class's filter, minus the image."""

    seed: int = 0
    name: str = "cuda"

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        classes = class_map(target)
        image_CHW = torch.from_numpy(np.ascontiguousarray(image_HWC.transpose(2, 0, 1))).float()
        margin = SIZE // 2
        padded = F.pad(image_CHW[None], (margin,) * 4, mode="replicate")[0]
        noise = np.empty(image_CHW.shape, dtype=np.float32)
        for i, category in enumerate(classes.categories):
            own = classes.index == i
            x0, y0, x1, y1 = box_of(own)
            part = padded[:, y0 : y1 + 1 + 2 * margin, x0 : x1 + 1 + 2 * margin]
            box = (slice(None), slice(y0, y1 + 1), slice(x0, x1 + 1))
            change = (_convolve(part, class_filter(self.seed, category)) - image_CHW[box]) / CLIP
            np.copyto(noise[box], change.clamp_(-1, 1).numpy(), where=own[box[1:]])
        return noise


def _convolve(image_CHW: Tensor, kernel: np.ndarray) -> Tensor:
    weights = torch.from_numpy(kernel).expand(3, 1, SIZE, SIZE).contiguous()
    with torch.inference_mode():
        return F.conv2d(image_CHW[None], weights, groups=3)[0]


def class_filter(seed: int, category: int) -> np.ndarray:
    """float32 3x3 of multiples of 1/4096 that sum to 1."""
    centre = (SIZE // 2, SIZE // 2)
    values = stream("cuda", seed, category).random((SIZE, SIZE)) * LARGEST
    values[centre] = 1.0
    parts = np.round(values / values.sum() * PARTS)
    parts[centre] += PARTS - parts.sum()
    kernel: np.ndarray = (parts / PARTS).astype(np.float32)
    return kernel
