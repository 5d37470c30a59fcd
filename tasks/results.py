"""Writing what DVC tracks as metrics and plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

from unseg_core import storage


def write_json(path: str, value: object) -> None:
    """JSON with sorted keys, atomically."""
    storage.write_file(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def write_csv(path: str, rows: Sequence[Mapping[str, object]]) -> None:
    """CSV with a header, atomically; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    storage.write_file(path, text.getvalue().encode())
