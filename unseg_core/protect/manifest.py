"""The manifest: what was done to every image. `manifest.json` is written last and makes a copy complete.

It is written and read a line at a time, so that a million images need no memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from unseg_core import __version__, storage
from unseg_core.errors import DataError, ManifestError, StorageError
from unseg_core.params import DatasetParams, ProtectParams
from unseg_core.stripes import CYCLES

if TYPE_CHECKING:
    from unseg_core.device import Precision

LINES = "manifest.jsonl"
SUMMARY = "manifest.json"
CARD = "DATASET_CARD.md"
OWN_FILES = (LINES, SUMMARY, CARD)

LISTED_FAILURES = 200
"""So many failed images are named in the card; the manifest names all."""


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
    image_format: Literal["auto", "png", "jpeg"]
    no_target: str
    seed: int
    precision: Precision
    """Of the generator."""
    split: str = ""
    """Of the source; empty: all of it."""
    masks: str = ""
    """Their folder below the source, or `sha256:` of the names and sizes of the files of one elsewhere; empty: the
    layout's own."""
    annotations: str = ""
    """The COCO JSON file below the source, or `sha256:` of one elsewhere; empty: the layout's own."""
    class_order: tuple[int, ...] = ()
    cycles: int = CYCLES
    """Both as methods.MethodOptions has them."""
    each_object: bool = False
    """As of region.protected_region."""

    @classmethod
    def of(
        cls,
        dataset: DatasetParams,
        how: ProtectParams,
        *,
        method: str,
        generator_sha256: str | None,
        precision: Precision,
        masks: str = "",
        class_order: tuple[int, ...] = (),
        cycles: int = CYCLES,
    ) -> Settings:
        """From the parameters of a data set, with its annotations as origin.py records them, and of protection."""
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
            split=dataset.split,
            masks=masks,
            annotations=dataset.annotations,
            class_order=class_order,
            cycles=cycles,
            each_object=True,
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
    excess_share: float | None = None
    """Share of the pixels that are over their budget by more than two levels, as re-encoding JPEG does to a few."""


def line_text(line: Line) -> str:
    """One line of JSON, without its end."""
    return to_json(vars(line))


def line_of(text: str, where: str) -> Line:
    """Raises ManifestError if it is no line of a manifest; `where` names the file."""
    try:
        return Line(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise ManifestError(
            f"{where} holds a line that is no manifest line ({error}); protect the data set again"
        ) from None


def to_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


@dataclass
class Totals:
    """Sums over a manifest, a line at a time."""

    images: int = 0
    protected: int = 0
    no_target: int = 0
    failed: int = 0
    over_budget: int = 0
    """Protected images whose file changes by more than was asked for, as re-encoding JPEG does."""
    linf_inside: int = 0
    linf_outside: int = 0
    psnr_sum: float = 0.0
    failures: list[Line] = field(default_factory=list)
    """The first LISTED_FAILURES."""

    def add(self, line: Line) -> None:
        self.images += 1
        if line.status == "failed":
            self.failed += 1
            if len(self.failures) < LISTED_FAILURES:
                self.failures.append(line)
        elif line.status == "no_target":
            self.no_target += 1
        else:
            self._add_protected(line.linf_inside or 0, line.linf_outside or 0, line)

    def _add_protected(self, inside: int, outside: int, line: Line) -> None:
        self.protected += 1
        self.over_budget += inside > line.epsilon or outside > line.epsilon_bg
        self.linf_inside = max(self.linf_inside, inside)
        self.linf_outside = max(self.linf_outside, outside)
        self.psnr_sum += line.psnr or 0.0

    def summary(self) -> dict[str, Any]:
        """Counts by status, the largest changes, the mean PSNR of protected images."""
        names = ("images", "protected", "no_target", "failed", "over_budget", "linf_inside", "linf_outside")
        mean = round(self.psnr_sum / self.protected, 4) if self.protected else None
        return {**{name: getattr(self, name) for name in names}, "psnr": mean}


def write_lines(root: str, texts: Iterable[str]) -> tuple[Totals, str]:
    """Write manifest.jsonl from texts of lines. Returns what they add up to, and the file's sha256."""
    totals, digest, where = Totals(), hashlib.sha256(), storage.join(root, LINES)
    with storage.open_writer(where) as file:
        for text in texts:
            totals.add(line_of(text, where))
            data = f"{text}\n".encode()
            digest.update(data)
            file.write(data)
    return totals, digest.hexdigest()


def write_summary(
    root: str, settings: Settings, totals: Totals, sha256: str, other_pictures: dict[str, object]
) -> dict[str, Any]:
    """Write manifest.json, which makes the copy complete; returns its contents."""
    summary = {
        "settings": asdict(settings),
        "totals": totals.summary(),
        "manifest_sha256": sha256,
        "other_pictures": other_pictures,
        "versions": versions(),
    }
    storage.write_file(storage.join(root, SUMMARY), (json.dumps(summary, indent=2, sort_keys=True) + "\n").encode())
    return summary


def versions() -> dict[str, str]:
    packages = ("torch", "numpy", "pillow")
    return {"unseg": __version__, **{name: metadata.version(name) for name in packages}}


def read_summary(root: str) -> dict[str, Any]:
    """The summary of a complete copy.

    Raises:
        ManifestError: there is none.
    """
    where = storage.join(root, SUMMARY)
    try:
        summary = json.loads(storage.read_file(where))
    except StorageError:
        raise
    except DataError:
        raise ManifestError(
            f"{root} has no complete manifest, so it is no protected copy; run `unseg protect` to the end"
        ) from None
    except ValueError as error:
        raise ManifestError(f"{where} is not JSON ({error}); protect the data set again") from None
    if not isinstance(summary, dict) or "manifest_sha256" not in summary:
        raise ManifestError(f"{where} is not of a protected copy; name the folder of one")
    return summary


def open_manifest(root: str) -> tuple[dict[str, Any], Iterator[Line]]:
    """Summary and lines of a complete copy; the lines are read while they are asked for.

    Raises:
        ManifestError: there is none, or the lines are not those that the summary was written for.
    """
    summary, where = read_summary(root), storage.join(root, LINES)
    try:
        found = storage.sha256_of(where)
    except StorageError:
        raise
    except DataError as error:
        raise ManifestError(f"{error}; protect the data set again") from None
    if found != summary["manifest_sha256"]:
        raise ManifestError(f"{where} was changed after it was written; protect the data set again")
    return summary, _lines(where)


def _lines(where: str) -> Iterator[Line]:
    with storage.open_reader(where) as file:
        for data in file:
            yield line_of(data.decode(), where)


def read_manifest(root: str) -> tuple[dict[str, Any], list[Line]]:
    """As open_manifest, with all lines in memory."""
    summary, lines = open_manifest(root)
    return summary, list(lines)


def settings_from(mapping: dict[str, Any]) -> Settings:
    """Settings as stored in the summary. What older manifests lack has its default.

    Raises:
        ManifestError: an entry is missing.
    """
    try:
        values = {f.name: mapping[f.name] for f in fields(Settings) if f.name in mapping or f.default is MISSING}
    except KeyError as error:
        raise ManifestError(f"the manifest's settings have no {error}; protect the data set again") from None
    values |= {name: tuple(values[name]) for name in ("classes", "class_order") if name in values}
    return Settings(**values)
