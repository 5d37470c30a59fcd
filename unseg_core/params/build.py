"""From parsed YAML to a dataclass, with names and types checked."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

from unseg_core.errors import ParameterError

T = TypeVar("T")


def build(cls: type[T], mapping: Any, where: str) -> T:
    """Make the dataclass `cls` from a mapping, checking names and types; `where` is its dotted key."""
    if not isinstance(mapping, Mapping):
        raise ParameterError(f"{where or 'the file'} must be a mapping of names to values, not {mapping!r}")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # T is always a dataclass here
    prefix = f"{where}." if where else ""
    for key in mapping:
        if key not in known:
            raise ParameterError(f"{prefix}{key} is not a parameter; {_suggestion(str(key), list(known))}")
    values = {key: _convert(hints[key], value, f"{prefix}{key}") for key, value in mapping.items()}
    for key, f in known.items():
        if key not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ParameterError(f"{prefix}{key} is missing; give it a value")
    try:
        return cls(**values)
    except ParameterError as error:
        raise ParameterError(_place(str(error), where)) from None


def _place(message: str, where: str) -> str:
    """Replace the `section.*` of a check by the entry it failed in."""
    section = where.split(".")[0]
    return message.replace(f"{section}.*", where) if section else message


def _suggestion(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against the type `hint`; lists become tuples, ints are taken where floats are due."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    if origin is Literal:
        if value not in arguments:
            raise ParameterError(f"{where} is {value!r}; choose one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ParameterError(f"{where} is {value!r}; give a list")
        return tuple(_convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ParameterError(f"{where} is {value!r}; give a mapping of names to values")
        return {str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        raise TypeError(f"{where}: unions are not used in params")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number:
        return float(value)
    if hint is int and number and float(value).is_integer():
        return int(value)
    if hint in (str, bool) and isinstance(value, hint):
        return value
    raise ParameterError(f"{where} is {value!r}; give a value of type {hint.__name__}")
