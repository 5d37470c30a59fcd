"""Optional packages: what a command needs beyond the base installation, said when it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from unseg_core.errors import ExtraError


@contextmanager
def needs_extra(name: str, purpose: str) -> Iterator[None]:
    """Import inside this what the optional part `name` of the installation brings.

    Raises:
        ExtraError: a package of it is not installed.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise ExtraError(
            f"{purpose} needs the package {package}, which is not installed: pip install 'unseg[{name}]'"
        ) from error
