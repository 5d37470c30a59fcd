"""The data set card that lies beside a protected copy."""

from __future__ import annotations

from collections.abc import Sequence

from unseg_core.protect.manifest import Line, Settings, Totals
from unseg_core.protect.other_pictures import OtherPictures


def dataset_card(settings: Settings, totals: Totals, others: OtherPictures) -> str:
    """Markdown: what was done, within which budget, and how to check it."""
    found = totals.summary()
    generator = f"generator sha256 `{settings.generator_sha256}`" if settings.generator_sha256 else "no generator"
    counts = f"{totals.protected} protected, {totals.no_target} without a target, {totals.failed} failed"
    change = f"{totals.linf_inside} inside, {totals.linf_outside} outside (8-bit levels, files decoded again)"
    return f"""# Protected copy

This data set was changed so that segmentation models trained on it fail on unchanged images. It looks the same and
has the same layout; only the images named in `manifest.jsonl` differ from the original.

| | |
| --- | --- |
| method | {settings.method} ({generator}) |
| budget | {settings.epsilon:g}/255 inside the protected objects, {settings.epsilon_bg:g}/255 outside |
| protected objects | {settings.targets} of {", ".join(settings.classes)} |
| images | {totals.images}: {counts} |
| largest change measured | {change} |
| over the budget | {totals.over_budget} files, by what JPEG's re-encoding adds |
| mean PSNR of protected images | {"-" if found["psnr"] is None else f"{found['psnr']:.1f} dB"} |

Check it with `unseg verify COPY --against ORIGINAL`. Lossless files keep the budget exactly; in JPEG files re-encoding
adds what the manifest states for each file. The small pictures that cameras put into EXIF are left out.
{_failures(totals)}{_unprotected(others)}"""


def _failures(totals: Totals) -> str:
    if not totals.failed:
        return ""
    named = [_failure(line) for line in totals.failures]
    return _section("Failed images (not written)", named, totals.failed, ", see `manifest.jsonl`")


def _failure(line: Line) -> str:
    reason = line.reason or ""
    rest = reason.removeprefix(line.image) if reason.startswith(line.image) else f": {reason}"
    return f"`{line.image}`{rest}"


def _unprotected(others: OtherPictures) -> str:
    if not others.count:
        return ""
    named = [f"`{path}`" for path in others.named]
    return _section("Other pictures, videos and archives (as in the original)", named, others.count)


def _section(title: str, named: Sequence[str], count: int, where: str = "") -> str:
    """A list of the first ones; `where` says where the others are."""
    lines = [*named, f"and {count - len(named)} more{where}"] if count > len(named) else named
    return f"\n## {title}\n\n" + "".join(f"- {line}\n" for line in lines)
