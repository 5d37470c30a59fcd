"""The sections of the page as plain values for the template: text ready to show, charts as HTML, pictures as URIs."""

import statistics
from collections.abc import Mapping, Sequence

from unseg_core.report import charts, pictures
from unseg_core.report.comparison import ComparisonRow
from unseg_core.report.contents import (
    CLEAN_METHOD,
    PROTECTED_METHOD,
    UNIFORM_METHOD,
    Evaluation,
    GalleryItem,
    PixelHistogram,
    ProtectionSummary,
    TrainPoint,
)
from unseg_core.report.verdict import bound_problems

View = dict[str, object]

DESCRIPTIONS = {
    CLEAN_METHOD: "trained on the originals",
    PROTECTED_METHOD: "trained on the protected copy",
    UNIFORM_METHOD: "trained on a copy with uniform random noise",
}

TRAIN_LABELS = {
    "size": "Size of the generator",
    "parameters": "Parameters",
    "trained_parameters": "of which trained",
    "images": "Training images",
    "epochs": "Epochs",
    "steps": "Steps",
    "surrogate_iou_clean": "Surrogate IoU, clean images",
    "surrogate_iou_noised": "Surrogate IoU, noised images",
    "noise_mean_abs": "Mean size of the noise (1 = full budget)",
    "noise_std": "Standard deviation of the noise",
    "noise_saturated": "Share of saturated noise",
    "noise_dead_channels": "Dead noise channels",
}


def method_styles(rows: Sequence[ComparisonRow]) -> dict[str, int]:
    """The palette index of every method name: clean, unseg and uniform have fixed ones."""
    fixed = [CLEAN_METHOD, PROTECTED_METHOD, UNIFORM_METHOD]
    return {name: index for index, name in enumerate(dict.fromkeys(fixed + [row.name for row in rows]))}


def comparison_view(
    group: str, rows: Sequence[ComparisonRow], evaluations: Sequence[Evaluation], styles: Mapping[str, int]
) -> View:
    """The table of one data set and model, its per-class scores, its interval chart and its curves.

    `styles` gives the palette index of each method, the same on the whole page.
    """
    members = [next(e for e in evaluations if e.run == row.run) for row in rows]
    intervals = [
        charts.Interval(
            name=row.name,
            style=styles[row.name],
            mean=row.iou_mean,
            low=row.iou_low,
            high=row.iou_high,
            values=[seed.iou for seed in row.seeds],
        )
        for row in rows
    ]
    return {
        "group": group,
        "setting": _setting_words(members[0]),
        "names": [row.name for row in rows],
        "rows": [_row_view(row, styles[row.name]) for row in rows],
        "classes": _class_views(rows),
        "intervals": charts.interval_chart(
            title=f"{group}: IoU on clean test images", intervals=intervals, x_label="mean IoU (whisker: 95 % interval)"
        ),
        "curves": _evaluation_chart(group, rows, members, styles),
    }


def gallery_view(item: GalleryItem) -> View:
    """Four pictures of one image; the noise is computed at full size and only then reduced."""
    noise = pictures.amplified_noise(item.clean, item.protected)
    noise_label = f"noise \N{MULTIPLICATION SIGN} {pictures.NOISE_GAIN}"
    shots = [
        ("clean", pictures.lossless_uri(pictures.shown(item.clean))),
        ("protected", pictures.lossless_uri(pictures.shown(item.protected))),
        (noise_label, pictures.lossless_uri(pictures.shown(noise, nearest=True))),
    ]
    if item.region is not None:
        shots.append(("region", pictures.sketch_uri(pictures.shown(pictures.overlay(item.clean, item.region)))))
    height, width = item.clean.shape[:2]
    return {"dataset": item.dataset, "id": item.id, "width": width, "height": height, "shots": shots}


def histogram_view(histogram: PixelHistogram) -> str:
    """The chart of one data set."""
    count = f"{histogram.images} image" + ("" if histogram.images == 1 else "s")
    title = f"{histogram.dataset}: pixel values of {count}"
    return charts.histogram_chart(title=title, clean=histogram.clean, protected=histogram.protected)


def train_view(train: Mapping[str, str | int | float], curve: Sequence[TrainPoint]) -> View:
    """Loss curves of both phases and the facts of generator training."""
    losses: dict[str, list[tuple[float, float]]] = {"surrogate": [], "generator": []}
    for point in curve:
        losses.setdefault(point.phase, []).append((point.epoch, point.loss))
    series = [
        charts.Series(name=f"{phase} phase", style=style, points=points)
        for style, (phase, points) in enumerate(losses.items())
    ]
    chart = charts.line_chart(title="Loss of generator training", series=series, x_label="epoch", y_label="loss")
    facts = [(label, _plain_number(train[name])) for name, label in TRAIN_LABELS.items() if name in train]
    return {"chart": chart, "facts": facts}


def bound_view(summary: ProtectionSummary) -> View:
    """One line of the bound table."""
    return {
        "dataset": summary.dataset,
        "method": summary.method,
        "inside": (f"{summary.linf_inside:g}", f"{summary.epsilon:g}"),
        "outside": (f"{summary.linf_outside:g}", f"{summary.epsilon_bg:g}"),
        "counts": [grouped(count) for count in (summary.protected, summary.no_target, summary.failed)],
        "verified": [grouped(count) for count in (summary.checked, summary.differences, summary.over_budget)],
        "psnr": "\N{EN DASH}" if summary.psnr is None else f"{summary.psnr:.1f}",
        "other_pictures": grouped(summary.other_pictures) if summary.other_pictures else "",
        "good": not bound_problems(summary),
    }


def grouped(count: int) -> str:
    """A count with thin spaces between groups of three digits."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def score(value: float | None) -> str:
    """An IoU or ratio to three places, a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def _plain_number(value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    return grouped(value) if isinstance(value, int) else f"{value:.4g}"


def _setting_words(evaluation: Evaluation) -> str:
    train, test = grouped(evaluation.train_images), grouped(evaluation.test_images)
    return f"{evaluation.model}, encoder {evaluation.encoder}; {train} training images, {test} clean test images"


def _row_view(row: ComparisonRow, style: int) -> View:
    has_interval = row.iou_low is not None and row.iou_high is not None
    return {
        "name": row.name,
        "style": style % charts.STYLES,
        "description": DESCRIPTIONS.get(row.method, f"trained on the copy made by {row.method}"),
        "mean": score(row.iou_mean),
        "interval": f"{score(row.iou_low)} \N{EN DASH} {score(row.iou_high)}" if has_interval else "one seed",
        "ratio": "1" if row.method == CLEAN_METHOD else score(row.ratio_to_clean),
        "seeds": [(seed.seed, score(seed.iou)) for seed in row.seeds],
    }


def _class_views(rows: Sequence[ComparisonRow]) -> list[tuple[str, list[str]]]:
    names = dict.fromkeys(name for row in rows for name in row.class_iou)
    return [(name, [score(row.class_iou.get(name)) for row in rows]) for name in names]


def _evaluation_chart(
    group: str, rows: Sequence[ComparisonRow], members: Sequence[Evaluation], styles: Mapping[str, int]
) -> str:
    series = [
        charts.Series(name=row.name, style=styles[row.name], points=_mean_curve(member))
        for row, member in zip(rows, members, strict=True)
    ]
    title = f"{group}: IoU on clean test images during training"
    return charts.line_chart(title=title, series=series, x_label="epoch", y_label="mean IoU", y_high=1.0)


def _mean_curve(evaluation: Evaluation) -> list[tuple[float, float]]:
    """(epoch, test IoU averaged over the seeds that were tested in it)."""
    tested: dict[int, list[float]] = {}
    for point in evaluation.curve:
        if point.test_iou is not None:
            tested.setdefault(point.epoch, []).append(point.test_iou)
    return [(epoch, statistics.fmean(values)) for epoch, values in sorted(tested.items())]
