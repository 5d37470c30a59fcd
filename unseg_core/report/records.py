"""JSON and CSV files read with a check on every field, so that an error names the file, the field and the remedy."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from unseg_core.errors import DataError


class Record:
    """One JSON object or CSV row; its readers raise DataError for a field that is missing or of another type."""

    def __init__(self, values: Mapping[str, object], *, where: str, remedy: str) -> None:
        self.values = values
        self.where = where
        self.remedy = remedy

    def text(self, name: str) -> str:
        value = self._required(name)
        return value if isinstance(value, str) else self._refuse(name, "a text")

    def optional_text(self, name: str) -> str | None:
        return None if self._required(name) is None else self.text(name)

    def number(self, name: str) -> float:
        """A finite number; CSV text is converted."""
        value = self._required(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            self._refuse(name, "a number")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            self._refuse(name, "a number")
        return number if math.isfinite(number) else self._refuse(name, "a finite number")

    def optional_number(self, name: str) -> float | None:
        """The number, or None where the field is null or empty."""
        return None if self._required(name) in (None, "") else self.number(name)

    def count(self, name: str) -> int:
        number = self.number(name)
        return int(number) if number >= 0 and number == int(number) else self._refuse(name, "a whole number from 0 up")

    def fraction(self, name: str) -> float:
        number = self.number(name)
        return number if 0.0 <= number <= 1.0 else self._refuse(name, "a number in 0..1")

    def optional_fraction(self, name: str) -> float | None:
        return None if self.optional_number(name) is None else self.fraction(name)

    def texts(self, name: str) -> tuple[str, ...]:
        items = self._list(name)
        texts = tuple(item for item in items if isinstance(item, str))
        return texts if len(texts) == len(items) else self._refuse(name, "a list of texts")

    def numbers(self, name: str) -> tuple[float, ...]:
        items = {str(index): item for index, item in enumerate(self._list(name))}
        return tuple(Record(items, where=f"{self.where}, {name}", remedy=self.remedy).number(key) for key in items)

    def record(self, name: str) -> "Record":
        return self._nested(self._required(name), name)

    def records(self, name: str) -> list["Record"]:
        return [self._nested(item, f"{name}[{index}]") for index, item in enumerate(self._list(name))]

    def _list(self, name: str) -> list[object]:
        value = self._required(name)
        return value if isinstance(value, list) else self._refuse(name, "a list")

    def _nested(self, value: object, name: str) -> "Record":
        if not isinstance(value, dict):
            self._refuse(name, "an object")
        return Record(value, where=f"{self.where}, {name}", remedy=self.remedy)

    def _required(self, name: str) -> object:
        if name not in self.values:
            raise DataError(f"{self.where}: the field {name!r} is missing; {self.remedy}")
        return self.values[name]

    def _refuse(self, name: str, wanted: str) -> NoReturn:
        found = repr(self.values.get(name))[:60]
        raise DataError(f"{self.where}: {name!r} must be {wanted}, not {found}; {self.remedy}")


def read_json(path: Path, *, remedy: str) -> Record:
    """The one JSON object of a file; DataError if it is missing or is no JSON object."""
    return _parsed(_text(path, remedy), where=str(path), remedy=remedy)


def read_csv(path: Path, *, remedy: str) -> Iterator[Record]:
    """The rows of a CSV file with a header line."""
    rows = csv.DictReader(_text(path, remedy).splitlines())
    for index, row in enumerate(rows, start=2):
        yield Record(dict(row), where=f"{path}, line {index}", remedy=remedy)


def read_json_lines(path: Path, *, remedy: str) -> Iterator[Record]:
    """The objects of a JSON-lines file, one at a time: a manifest may have a million."""
    try:
        with path.open(encoding="utf-8") as lines:
            for index, line in enumerate(lines, start=1):
                yield _parsed(line, where=f"{path}, line {index}", remedy=remedy)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, remedy) from error


def _text(path: Path, remedy: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, remedy) from error


def _unreadable(path: Path, error: Exception, remedy: str) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: there is no such file; {remedy}")
    return DataError(f"{path}: cannot be read ({error}); {remedy}")


def _parsed(text: str, *, where: str, remedy: str) -> Record:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: is not JSON ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: must hold one JSON object; {remedy}")
    return Record(value, where=where, remedy=remedy)
