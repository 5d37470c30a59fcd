"""What values are checked by."""

from __future__ import annotations

from unseg_core.errors import ParameterError


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ParameterError unless low <= value <= high."""
    if not low <= value <= high:
        raise ParameterError(f"{name} is {value}; give a value from {low} to {high}")


def check_name(name: str, value: str) -> None:
    """Raise ParameterError unless value can be a file name on every system."""
    if not value or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in value) or value[0] in ".-":
        raise ParameterError(f"{name}: {value!r} is not a usable name; use letters, digits, '-', '_' and '.'")
