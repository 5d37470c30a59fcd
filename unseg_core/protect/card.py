"""The data set card that lies beside a protected copy."""

from __future__ import annotations

from unseg_core.protect.manifest import Line, Settings, summarise


def dataset_card(settings: Settings, lines: list[Line]) -> str:
    """Markdown: what was done, within which budget, and how to check it."""
    totals = summarise(lines)
    generator = f"generator sha256 `{settings.generator_sha256}`" if settings.generator_sha256 else "no generator"
    counts = f"{totals['protected']} protected, {totals['no_target']} without a target, {totals['failed']} failed"
    change = f"{totals['linf_inside']} inside, {totals['linf_outside']} outside (8-bit levels, files decoded again)"
    failed = "".join(f"- `{line.image}`: {line.reason}\n" for line in lines if line.status == "failed")
    return f"""# Protected copy

This data set was changed so that segmentation models trained on it fail on unchanged images. It looks the same and
has the same layout; only the images named in `manifest.jsonl` differ from the original.

| | |
| --- | --- |
| method | {settings.method} ({generator}) |
| budget | {settings.epsilon:g}/255 inside the protected objects, {settings.epsilon_bg:g}/255 outside |
| protected objects | {settings.targets} of {", ".join(settings.classes)} |
| images | {totals["images"]}: {counts} |
| largest change measured | {change} |
| mean PSNR of protected images | {"-" if totals["psnr"] is None else f"{totals['psnr']:.1f} dB"} |

Check it with `unseg verify COPY --against ORIGINAL`. PNG files keep the budget exactly; in JPEG files re-encoding adds
what the manifest states for each file.
{"## Failed images (not written)" + chr(10) + chr(10) + failed if failed else ""}"""
