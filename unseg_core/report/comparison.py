"""Methods compared: mean IoU over seeds, its 95 % confidence interval, and its ratio to training on the originals."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unseg_core.errors import DataError
from unseg_core.evaluate.statistics import PairedComparison, mean_and_deviation
from unseg_core.report.contents import CLEAN_METHOD, Evaluation, SeedScore

# Two-sided 95 % quantiles of Student's t, t(0.975, n - 1) for n = 2..30 values: the standard table,
# recomputed to four places with scipy.stats.t.ppf. Beyond it the normal quantile is less than 4 % off.
T_QUANTILES = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
    *(2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452),
)

JsonComparison = dict[str, dict[str, dict[str, float | int | None]]]


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One method on one data set and model; IoU in 0..1, the interval is None with one seed.

    `group` names the data set (with the model where a data set has several), `name` the method within it
    (the run where a method has several). `ratio_to_clean` is None without a clean run or where that scores 0.
    """

    group: str
    name: str
    dataset: str
    method: str
    model: str
    encoder: str
    run: str
    seeds: tuple[SeedScore, ...]
    iou_mean: float
    iou_low: float | None
    iou_high: float | None
    ratio_to_clean: float | None
    class_iou: Mapping[str, float | None]


def t_quantile(count: int) -> float:
    """The factor on the standard error for a two-sided 95 % interval of the mean of `count` >= 2 values."""
    if count - 2 < len(T_QUANTILES):
        return T_QUANTILES[count - 2]
    return statistics.NormalDist().inv_cdf(0.975)


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % Student-t interval of IoU values, cut to 0..1 where every IoU lies; one value has no interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None, None
    half = t_quantile(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def compare(evaluations: Sequence[Evaluation]) -> list[ComparisonRow]:
    """One row per evaluation, grouped by data set and model in order of appearance, the clean run first.

    Raises DataError if a data set and model has two clean runs: no ratio would be defined.
    """
    settings = list(dict.fromkeys(_setting(evaluation) for evaluation in evaluations))
    rows: list[ComparisonRow] = []
    for setting in settings:
        members = [evaluation for evaluation in evaluations if _setting(evaluation) == setting]
        rivals = [other for other in settings if other[0] == setting[0]]
        models = len({other[1:3] for other in rivals}) > 1
        parts = [f"{setting[1]} {setting[2]}"] if models else []
        parts += [f"defence {setting[3]}"] if setting[3] else []
        group = f"{setting[0]} ({', '.join(parts)})" if parts else setting[0]
        rows += _compare_group(group, members)
    return rows


def comparison_json(
    rows: Sequence[ComparisonRow], paired: Mapping[str, PairedComparison] | None = None
) -> JsonComparison:
    """The rows as metrics/comparison.json: {group: {name: {iou_mean, iou_std, iou_low, iou_high, seeds, ...}}}.

    `seeds` is how many there were; the clean run has no ratio_to_clean. With `paired` (by run), difference and ratio
    have the bootstrap's 95 % intervals, which take in the chance of test images besides that of seeds. Six decimals.
    """
    table: JsonComparison = {}
    for row in rows:
        entry: dict[str, float | int | None] = {
            "iou_mean": round(row.iou_mean, 6),
            "iou_std": _rounded(mean_and_deviation([seed.iou for seed in row.seeds])[1]),
            "iou_low": _rounded(row.iou_low),
            "iou_high": _rounded(row.iou_high),
            "seeds": len(row.seeds),
        }
        if row.method != CLEAN_METHOD:
            entry["ratio_to_clean"] = _rounded(row.ratio_to_clean)
            entry |= _paired_entry((paired or {}).get(row.run))
        table.setdefault(row.group, {})[row.name] = entry
    return table


def _paired_entry(paired: PairedComparison | None) -> dict[str, float | int | None]:
    if paired is None:
        return {}
    intervals = {"difference": paired.difference, **({"ratio": paired.ratio} if paired.ratio else {})}
    entry: dict[str, float | int | None] = {"difference": round(paired.difference.value, 6)}
    for name, interval in intervals.items():
        entry |= {f"{name}_low": round(interval.low, 6), f"{name}_high": round(interval.high, 6)}
    return entry


def _setting(evaluation: Evaluation) -> tuple[str, str, str, str]:
    return evaluation.dataset, evaluation.model, evaluation.encoder, " + ".join(evaluation.defences)


def _compare_group(group: str, members: Sequence[Evaluation]) -> list[ComparisonRow]:
    clean = [member for member in members if member.method == CLEAN_METHOD]
    if len(clean) > 1:
        runs = ", ".join(member.run for member in clean)
        raise DataError(f"evaluations {runs}: {group} has more than one clean run; keep one of them in params.yaml")
    clean_iou = statistics.fmean(seed.iou for seed in clean[0].seeds) if clean else None
    others = [member for member in members if member.method != CLEAN_METHOD]
    methods = [member.method for member in members]
    return [
        _row(group, member, member.method if methods.count(member.method) == 1 else member.run, clean_iou)
        for member in clean + others
    ]


def _row(group: str, evaluation: Evaluation, name: str, clean_iou: float | None) -> ComparisonRow:
    mean, low, high = mean_interval([seed.iou for seed in evaluation.seeds])
    return ComparisonRow(
        group=group,
        name=name,
        dataset=evaluation.dataset,
        method=evaluation.method,
        model=evaluation.model,
        encoder=evaluation.encoder,
        run=evaluation.run,
        seeds=evaluation.seeds,
        iou_mean=mean,
        iou_low=low,
        iou_high=high,
        ratio_to_clean=mean / clean_iou if clean_iou else None,
        class_iou={name: _class_mean(evaluation.seeds, name) for name in evaluation.classes},
    )


def _class_mean(seeds: Sequence[SeedScore], name: str) -> float | None:
    values = [iou for seed in seeds if (iou := seed.class_iou.get(name)) is not None]
    return statistics.fmean(values) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
