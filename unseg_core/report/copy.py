"""The contents of a report on one protected copy, wherever it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.errors import DataError
from unseg_core.images import decode_image
from unseg_core.protect.manifest import open_manifest, settings_from, versions
from unseg_core.protect.verify import Verification, recorded_region
from unseg_core.report.audit import read_audit
from unseg_core.report.contents import ProtectionSummary, ReportContents
from unseg_core.report.evaluations import read_evaluations
from unseg_core.report.load import CopyFiles, ImageFiles, read_gallery, read_histogram

HISTOGRAM_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What a report is to show."""

    copy: str
    """Folder or URL."""
    source: Layout
    name: str
    verification: Verification
    audits: Sequence[Path] = ()
    """JSON files of `unseg audit`."""
    evaluations: Sequence[Path] = ()
    """JSON files of `unseg evaluate` or of the stage evaluate."""
    gallery: int = 6


def copy_contents(report: CopyReport) -> ReportContents:
    """Load everything that the page shows.

    Raises:
        DataError: a file is missing or malformed, or an audit or evaluation is one of another copy.
    """
    summary, _ = open_manifest(report.copy)
    files = _files(report)
    audits = tuple(read_audit(path, report.name) for path in report.audits)
    for path, audit in zip(report.audits, audits, strict=True):
        if audit.manifest_sha256 != summary["manifest_sha256"]:
            raise DataError(f"{path} is the audit of another copy than {report.copy}; audit this one")
    return ReportContents(
        profile=report.name,
        scope="copy",
        params_text="",
        git_commit=None,
        versions=versions(),
        protections=(_protection(report, summary),),
        evaluations=tuple(one for path in report.evaluations for one in read_evaluations(path, report.name, summary)),
        audits=audits,
        galleries=tuple(read_gallery(files, report.gallery, lambda _, image: _region(report, summary, image))),
        histograms=(read_histogram(files, HISTOGRAM_IMAGES),),
    )


def is_good(contents: ReportContents) -> bool:
    """Images are protected, the copy is as its manifest says, and every audit says that it is protected."""
    checks = [summary.differences == 0 and summary.protected > 0 for summary in contents.protections]
    return all(checks) and all(audit.verdict == "protected" for audit in contents.audits)


def _protection(report: CopyReport, summary: dict[str, Any]) -> ProtectionSummary:
    settings, totals = settings_from(summary["settings"]), summary["totals"]
    counts = {name: totals[name] for name in ("images", "protected", "no_target", "failed", "psnr")}
    return ProtectionSummary(
        dataset=report.name,
        method=settings.method,
        generator_sha256=settings.generator_sha256,
        prompt=settings.prompt,
        epsilon=settings.epsilon,
        epsilon_bg=settings.epsilon_bg,
        linf_inside=totals["linf_inside"],
        linf_outside=totals["linf_outside"],
        checked=report.verification.checked,
        differences=len(report.verification.differences),
        over_budget=len(report.verification.over_budget),
        other_pictures=report.verification.other_pictures,
        manifest_sha256=summary["manifest_sha256"],
        **counts,
    )


def _files(report: CopyReport) -> CopyFiles:
    """Without the files that differ from the manifest, which may not be there at all."""
    different = {text.partition(": ")[0] for text in report.verification.differences}

    def protected() -> Iterator[ImageFiles]:
        for line in open_manifest(report.copy)[1]:
            if line.status == "protected" and line.output and not {line.image, line.output} & different:
                yield ImageFiles(id=line.id, image=line.image, output=line.output)

    return CopyFiles(
        dataset=report.name,
        source=report.source.root,
        copy=report.copy,
        protected=protected,
        remedy="protect the data set again",
    )


def _region(report: CopyReport, summary: dict[str, Any], image: str) -> np.ndarray | None:
    sample = next((one for one in report.source.samples() if one.image == image), None)
    if sample is None:
        return None
    pixels = decode_image(storage.read_file(storage.join(report.source.root, image)), image).pixels
    return recorded_region(sample, settings_from(summary["settings"]), pixels)
