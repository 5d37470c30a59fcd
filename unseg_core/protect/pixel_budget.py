"""Bounds the memory of images in work, whatever their sizes."""

from __future__ import annotations

import threading


class PixelBudget:
    """Lets images in while their pixels are within a limit; a larger image waits until it is alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.images = 0
        self.changed = threading.Condition()

    def acquire(self, pixels: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.images == 0 or self.used + pixels <= self.limit)
            self.used += pixels
            self.images += 1

    def release(self, pixels: int) -> None:
        with self.changed:
            self.used -= pixels
            self.images -= 1
            self.changed.notify_all()
