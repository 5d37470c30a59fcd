"""Line, interval and histogram charts as inline SVG: no script, colours from the CSS variables of page.css.

Every function returns one <figure class="chart"> of HTML; all text given to it is escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 40
STYLES = 6
"""How many series styles page.css has: .s0 to .s5 (colour and dash); further series start over."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: (x, y) points in data units, ascending in x; `style` is an index into the palette.

    `filled` marks an area instead of a line in the legend.
    """

    name: str
    style: int
    points: Sequence[tuple[float, float]] = ()
    filled: bool = False


@dataclass(frozen=True, kw_only=True)
class Interval:
    """One row: the mean, its interval (None where there is none) and the single values behind it."""

    name: str
    style: int
    mean: float
    low: float | None
    high: float | None
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Maps data values `low`..`high` to pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def nice_ticks(low: float, high: float, *, count: int = 5, whole: bool = False) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) within low..high; whole numbers on request."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * m for m in (1, 2, 5, 10) if power * m * count >= span * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def line_chart(*, title: str, series: Sequence[Series], x_label: str, y_label: str, y_high: float | None = None) -> str:
    """Lines with a dot per point; y starts at 0 and ends at `y_high` or the next round value above the largest."""
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    if not xs:
        return _figure(title, '<p class="empty">No values.</p>', series)
    x_axis = Axis(low=min(xs), high=max(max(xs), min(xs) + 1), start=LEFT, end=WIDTH - RIGHT)
    y_axis = Axis(low=0.0, high=y_high or _round_up(max(ys)), start=HEIGHT - BOTTOM, end=TOP)
    parts = [_frame(x_axis, y_axis, x_label, y_label, whole_x=True)]
    parts += [_line(line, x_axis, y_axis) for line in series]
    return _figure(title, _svg(title, HEIGHT, parts), series)


def interval_chart(*, title: str, intervals: Sequence[Interval], x_label: str) -> str:
    """A row per interval on a 0..1 axis: whisker: interval, large dot: mean, small dots: values."""
    row, right = 34, 52
    names = [_shortened(interval.name) for interval in intervals]
    left = 24 + 7 * max(map(len, names), default=0)
    height = row * len(intervals) + BOTTOM + TOP
    axis = Axis(low=0.0, high=1.0, start=left, end=WIDTH - right)
    base = height - BOTTOM
    parts = [_x_ticks(axis, [0, 0.2, 0.4, 0.6, 0.8, 1], TOP, base)]
    parts.append(_x_title(x_label, (left + WIDTH - right) / 2, height))
    for index, (name, interval) in enumerate(zip(names, intervals, strict=True)):
        parts.append(_interval_row(name, interval, axis, TOP + row * (index + 0.5)))
    return _figure(title, _svg(title, height, parts), ())


def histogram_chart(*, title: str, clean: NDArray[np.int64], protected: NDArray[np.int64]) -> str:
    """Two 256-bin histograms as shares in percent: clean filled, protected as a line over it.

    The scale follows bins 1..254: black or white borders would flatten everything else. A note says what was cut.
    """
    shares = [100.0 * counts / max(int(counts.sum()), 1) for counts in (clean, protected)]
    top = _round_up(max(float(share[1:255].max()) for share in shares))
    x_axis = Axis(low=0, high=256, start=LEFT, end=WIDTH - RIGHT)
    y_axis = Axis(low=0.0, high=top, start=HEIGHT - BOTTOM, end=TOP)
    frame = _frame(x_axis, y_axis, "pixel value", "share of values (%)", x_ticks=[0, 64, 128, 192, 255])
    areas = [
        f'<path class="{kind} s{style}" d="{_steps(share, x_axis, y_axis)}"/>'
        for kind, style, share in (("area", 0, shares[0]), ("line", 1, shares[1]))
    ]
    legend = (Series(name="clean", style=0, filled=True), Series(name="protected", style=1))
    cut = [f"{bin_}: {shares[0][bin_]:.1f} %" for bin_ in (0, 255) if max(s[bin_] for s in shares) > top]
    note = f'<p class="note">Cut at the top: value {escape(", ".join(cut))} of the clean pixels.</p>' if cut else ""
    return _figure(title, _svg(title, HEIGHT, [frame, *areas]) + note, legend)


def _figure(title: str, body: str, legend: Sequence[Series]) -> str:
    items = "".join(f"<li>{_swatch(line)}{escape(line.name)}</li>" for line in legend)
    listing = f'<ul class="legend">{items}</ul>' if items else ""
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{listing}{body}</figure>'


def _swatch(line: Series) -> str:
    kind, path = ("area", "M1 0H25V10H1Z") if line.filled else ("line", "M1 5H25")
    path = f'<path class="{kind} s{line.style % STYLES}" d="{path}"/>'
    return f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">{path}</svg>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    label = escape(title)
    inner = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{label}"><title>{label}</title>{inner}</svg>'


def _frame(
    x_axis: Axis,
    y_axis: Axis,
    x_label: str,
    y_label: str,
    *,
    whole_x: bool = False,
    x_ticks: Sequence[float] | None = None,
) -> str:
    ticks = nice_ticks(x_axis.low, x_axis.high, whole=whole_x, count=8) if x_ticks is None else x_ticks
    middle = (y_axis.start + y_axis.end) / 2
    return (
        _y_ticks(y_axis, x_axis)
        + _x_ticks(x_axis, ticks, y_axis.start, y_axis.start)
        + _x_title(x_label, (x_axis.start + x_axis.end) / 2, HEIGHT)
        + f'<text class="label" transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        + f"{escape(y_label)}</text>"
    )


def _x_ticks(axis: Axis, ticks: Sequence[float], top: float, base: float) -> str:
    marks = "".join(
        f'<path class="grid" d="M{axis.at(tick):.1f} {top:g}V{base + 4:g}"/>'
        f'<text x="{axis.at(tick):.1f}" y="{base + 17:g}" text-anchor="middle">{tick:g}</text>'
        for tick in ticks
    )
    return f'{marks}<path class="axis" d="M{axis.start:g} {base:g}H{axis.end:g}"/>'


def _y_ticks(axis: Axis, across: Axis) -> str:
    return "".join(
        f'<path class="grid" d="M{across.start:g} {axis.at(tick):.1f}H{across.end:g}"/>'
        f'<text x="{across.start - 7:g}" y="{axis.at(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in nice_ticks(axis.low, axis.high)
    )


def _x_title(label: str, middle: float, height: float) -> str:
    return f'<text class="label" x="{middle:g}" y="{height - 5:g}" text-anchor="middle">{escape(label)}</text>'


def _line(line: Series, x_axis: Axis, y_axis: Axis) -> str:
    style = line.style % STYLES
    at = [(x_axis.at(x), y_axis.at(y)) for x, y in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in at)
    return f'<g class="s{style}"><path class="line" d="M{path}"/>{dots}</g>' if at else ""


def _interval_row(name: str, interval: Interval, axis: Axis, y: float) -> str:
    parts = [f'<text class="name" x="{axis.start - 12:g}" y="{y + 4:g}" text-anchor="end">{escape(name)}</text>']
    if interval.low is not None and interval.high is not None:
        low, high = axis.at(interval.low), axis.at(interval.high)
        ends = "".join(f"M{end:.1f} {y - 5:g}v10" for end in (low, high))
        parts.append(f'<path class="whisker" d="M{low:.1f} {y:g}H{high:.1f}{ends}"/>')
    parts += [f'<circle class="value" cx="{axis.at(value):.1f}" cy="{y:g}" r="3"/>' for value in interval.values]
    parts.append(f'<circle class="mean" cx="{axis.at(interval.mean):.1f}" cy="{y:g}" r="5.5"/>')
    parts.append(f'<text class="number" x="{WIDTH - 8}" y="{y + 4:g}" text-anchor="end">{interval.mean:.2f}</text>')
    return f'<g class="s{interval.style % STYLES}">{"".join(parts)}</g>'


def _shortened(name: str, limit: int = 24) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "\u2026"


def _steps(shares: NDArray[np.float64], x_axis: Axis, y_axis: Axis) -> str:
    """Outline of a histogram, closed on the base line, bars cut at the top of the axis."""
    heights = [y_axis.at(min(float(share), y_axis.high)) for share in shares]
    steps = "".join(f"V{y:.1f}H{x_axis.at(index + 1):.1f}" for index, y in enumerate(heights))
    return f"M{x_axis.start:g} {y_axis.start:g}{steps}V{y_axis.start:g}"


def _round_up(value: float) -> float:
    """The smallest of 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10 times a power of ten that is not below `value`."""
    if not value > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * m for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12) if power * m >= value * 0.9999)
