"""What every protection method offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from unseg_core.data.sample import Target


class Method(Protocol):
    """Makes noise; the budget is applied to it in one place (`model.budget.add_noise`)."""

    @property
    def name(self) -> str: ...

    def in_grey(self) -> Method:
        """For files with one channel, which get the green channel's noise: this method unless it has another."""
        return self

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        """float32 3xHxW in [-1, 1] for uint8 HxWx3 and what is protected in it; depends on nothing else."""
        ...

    def noises(
        self, images_HWC: Sequence[np.ndarray], targets: Sequence[Target], image_ids: Sequence[str]
    ) -> list[np.ndarray]:
        """The noise of several images, of any sizes; methods with a network may run them in one pass."""
        together = zip(images_HWC, targets, image_ids, strict=True)
        return [self.noise(image, target, image_id) for image, target, image_id in together]
