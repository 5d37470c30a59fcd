"""The manifest: what was done to every image. `manifest.json` is written last and makes a copy complete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from unseg_core import storage
from unseg_core.errors import DataError, ManifestError
from unseg_core.params import DatasetParams, ProtectParams

LINES = "manifest.jsonl"
SUMMARY = "manifest.json"
CARD = "DATASET_CARD.md"
JOURNAL = ".unseg-journal.jsonl"
OWN_FILES = (LINES, SUMMARY, CARD, JOURNAL)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the bytes of a copy; a run is continued only with equal settings."""

    layout: str
    classes: tuple[str, ...]
    method: str
    generator_sha256: str | None
    epsilon: float
    """8-bit levels, inside the region."""
    epsilon_bg: float
    targets: str
    prompt: str
    image_format: str
    no_target: str
    seed: int
    precision: str
    """fp32 or bf16, of the generator."""

    @classmethod
    def of(
        cls, dataset: DatasetParams, how: ProtectParams, *, method: str, generator_sha256: str | None, precision: str
    ) -> Settings:
        """From the parameters of a data set and of protection."""
        return cls(
            layout=dataset.layout,
            classes=dataset.classes,
            method=method,
            generator_sha256=generator_sha256,
            epsilon=dataset.epsilon,
            epsilon_bg=dataset.epsilon_bg,
            targets=dataset.targets,
            prompt=dataset.prompt,
            image_format=how.image_format,
            no_target=how.no_target,
            seed=how.seed,
            precision=precision,
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """One image of the manifest. Changes are 8-bit levels, measured on the written file, decoded again."""

    id: str
    image: str
    status: Literal["protected", "no_target", "failed"]
    output: str | None = None
    """Path below the copy's root; None if nothing was written."""
    reason: str | None = None
    source_sha256: str | None = None
    output_sha256: str | None = None
    method: str
    generator_sha256: str | None
    epsilon: float
    epsilon_bg: float
    prompt: str
    linf_inside: int | None = None
    linf_outside: int | None = None
    psnr: float | None = None


def line_from(mapping: dict[str, Any], where: str) -> Line:
    """Raises ManifestError if entries are missing or unknown."""
    try:
        return Line(**mapping)
    except TypeError as error:
        raise ManifestError(
            f"{where} holds a line that is no manifest line ({error}); protect the data set again"
        ) from None


def to_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def write_manifest(root: str, settings: Settings, lines: Iterable[Line], card: str) -> dict[str, Any]:
    """Write lines, card and, last, the summary. Returns the summary."""
    kept = list(lines)
    text = "".join(to_json(asdict(line)) + "\n" for line in kept).encode()
    storage.write_file(storage.join(root, LINES), text)
    storage.write_file(storage.join(root, CARD), card.encode())
    summary = {
        "settings": asdict(settings),
        "totals": summarise(kept),
        "manifest_sha256": hashlib.sha256(text).hexdigest(),
        "versions": versions(),
    }
    storage.write_file(storage.join(root, SUMMARY), (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    return summary


def versions() -> dict[str, str]:
    import numpy
    import PIL
    import torch

    import unseg_core

    return {
        "unseg": unseg_core.__version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }


def summarise(lines: list[Line]) -> dict[str, Any]:
    """Totals over a manifest: counts by status, the largest changes, the mean PSNR of protected images."""
    protected = [line for line in lines if line.status == "protected"]
    return {
        "images": len(lines),
        **{status: sum(line.status == status for line in lines) for status in ("protected", "no_target", "failed")},
        "linf_inside": max((line.linf_inside or 0 for line in protected), default=0),
        "linf_outside": max((line.linf_outside or 0 for line in protected), default=0),
        "psnr": round(sum(line.psnr or 0.0 for line in protected) / len(protected), 4) if protected else None,
    }


def read_manifest(root: str) -> tuple[dict[str, Any], list[Line]]:
    """Summary and lines of a complete copy.

    Raises:
        ManifestError: there is none, or the lines are not those that the summary was written for.
    """
    try:
        summary = json.loads(storage.read_file(storage.join(root, SUMMARY)))
        data = storage.read_file(storage.join(root, LINES))
    except DataError:
        raise ManifestError(
            f"{root} has no complete manifest, so it is no protected copy; run `unseg protect` to the end"
        ) from None
    except ValueError as error:
        raise ManifestError(
            f"{storage.join(root, SUMMARY)} is not JSON ({error}); protect the data set again"
        ) from None
    if hashlib.sha256(data).hexdigest() != summary.get("manifest_sha256"):
        raise ManifestError(f"{storage.join(root, LINES)} was changed after it was written; protect the data set again")
    where = storage.join(root, LINES)
    return summary, [line_from(json.loads(text), where) for text in data.decode().splitlines()]


def settings_from(mapping: dict[str, Any]) -> Settings:
    """Settings as stored in the summary."""
    values = {f.name: mapping[f.name] for f in fields(Settings)}
    return Settings(**{**values, "classes": tuple(values["classes"])})
