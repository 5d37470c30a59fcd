"""Stopping on request: a signal only leaves a note, which the training loop reads between two steps."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """Callable that says whether SIGTERM or an interrupt has come; the second interrupt ends at once."""

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> bool:
        return self.requested

    def listen(self) -> None:
        """Install the signal handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
