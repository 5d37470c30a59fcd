"""Defences that take detail away: what a trainer can do without knowing the noise, and, for BANDSTOP, knowing it."""

from __future__ import annotations

from unseg_core.degradations import bandstop, bit_depth, gaussian, grey, jpeg, noise, resize
from unseg_core.evaluate.defences.defence import Defence

GAUSSIAN = Defence(transform=gaussian, default=1.0, low=0.1, high=32)
JPEG = Defence(transform=jpeg, default=75, low=1, high=100)
GREY = Defence(transform=grey, default=1, low=1, high=1, at_test=True)
BIT_DEPTH = Defence(transform=bit_depth, default=4, low=1, high=8, at_test=True)
NOISE = Defence(transform=noise, default=16, low=0, high=255)
RESIZE = Defence(transform=resize, default=0.5, low=0.01, high=1)
# Those of the gratings (unseg_core.stripes.CYCLES).
BANDSTOP = Defence(transform=bandstop, default=16, low=1, high=2048, at_test=True)
