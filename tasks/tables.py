"""`python -m tasks.tables`: the paper's results beside ours, row by row. Options: --markdown, --json.

Ours are the files in metrics/evaluate. What was not run is marked as not run.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.entry import run
from tasks.parameters import load_params
from tasks.published import COSTS, PUBLISHED, Published
from unseg_core.errors import DataError, ParameterError

NOT_RUN = "not run"
SCORES = {"mIoU": ("IoU", "iou_mean"), "PQ": ("PQ", "PQ_mean"), "AP": ("AP", "AP_mean")}
"""Name of a score in the paper to the task's metric, and to the key of its mean over seeds."""
WITHOUT_ENCODER = ("deeplabv1", "unet")

Metrics = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Generator:
    """That made our copies."""

    size: str
    start: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """A setting with the scores of models trained on clean and on protected images, in %; None: not run."""

    dataset: str
    model: str
    setting: str
    score: str
    paper_clean: float | None = None
    paper_protected: float | None = None
    ours_clean: float | None = None
    ours_protected: float | None = None
    run: str = ""
    """Ours on the protected copy."""
    seeds: int = 0


def main(arguments: list[str]) -> None:
    unknown = set(arguments) - {"--json", "--markdown"}
    if unknown:
        raise ParameterError(f"{' '.join(sorted(unknown))}: unknown; the options are --json and --markdown")
    weights = load_params().weights
    generator = Generator(size=weights.size, start=weights.generator)
    runs = read_runs(Path("metrics"))
    tables = {"published": [published_row(one, runs, generator) for one in PUBLISHED], "others": other_rows(runs)}
    if "--json" in arguments:
        values = {name: [vars(row) for row in rows] for name, rows in tables.items()}
        print(json.dumps({**values, "generator": vars(generator), "costs": dict(COSTS)}, sort_keys=True))
    else:
        print(page(tables["published"], tables["others"], generator, markdown="--markdown" in arguments))


def read_runs(metrics: Path) -> list[dict[str, Any]]:
    """metrics/evaluate/*.json, each with the prompt of its copy from metrics/protect.

    Raises:
        DataError: a file is not what `evaluate` writes.
    """
    return [_read_run(path, metrics) for path in sorted((metrics / "evaluate").glob("*.json"))]


def _read_run(path: Path, metrics: Path) -> dict[str, Any]:
    one = _read(path)
    missing = [key for key in ("run", "dataset", "method", "model", "encoder", "seeds", "iou_mean") if key not in one]
    if missing:
        raise DataError(f"{path} has no {missing[0]!r}; make it with `dvc repro evaluate@{path.stem}`")
    copy = metrics / "protect" / f"{one['dataset']}-{one['method']}.json"
    return {**one, "prompt": _read(copy).get("prompt", "mask") if copy.exists() else "mask"}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}); make it again with `dvc repro`") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no JSON object; make it again with `dvc repro`")
    return found


def published_row(one: Published, runs: Sequence[Metrics], generator: Generator) -> Row:
    """A row of the paper with our runs of the same setting, where there are any."""
    settings = [
        f"{one.prompt} prompt" if one.prompt != "mask" or one.dataset == "voc" else "",
        one.defence,
        f"generator from {one.start}" if one.start != "sam" else "",
    ]
    ours = [run for run in runs if _is_of(run, one, generator)]
    clean = next((run for run in ours if run["method"] == "clean"), None)
    protected = next((run for run in ours if run["method"] == one.method), None)
    return Row(
        dataset=one.dataset,
        model=_model_name(one.model, one.encoder),
        setting=", ".join(part for part in (one.method, *settings) if part),
        score=one.score,
        paper_clean=one.clean,
        paper_protected=one.protected,
        ours_clean=_percent(clean, one.score),
        ours_protected=_percent(protected, one.score),
        run=str(protected["run"]) if protected else "",
        seeds=len(protected["seeds"]) if protected else 0,
    )


def _is_of(run: Metrics, one: Published, generator: Generator) -> bool:
    """Data set (its name in params.yaml may go on after a hyphen), model, score; and of a copy how it was made."""
    if run["dataset"].split("-")[0] != one.dataset or run["model"] != one.model:
        return False
    if one.model not in WITHOUT_ENCODER and one.encoder and run["encoder"] != one.encoder:
        return False
    if run.get("metric", "IoU") != SCORES[one.score][0] or run.get("protected_share", 1) != 1:
        return False
    if run["method"] == "clean":
        return not run.get("defences")
    start = one.start != "random" or generator.start == "random"
    return run["method"] == one.method and run["prompt"] == one.prompt and start and _defence(run) == one.defence


def _defence(run: Metrics) -> str:
    """Without the value of a defence: the paper gives none."""
    return "+".join(str(name).partition(":")[0] for name in run.get("defences", ()))


def other_rows(runs: Sequence[Metrics]) -> list[Row]:
    """Our runs of settings that the paper does not have."""
    cleans = {_setting(run): run for run in runs if run["method"] == "clean"}
    others = [run for run in runs if run["method"] != "clean" and not any(_is_published(run, one) for one in PUBLISHED)]
    return [_other_row(run, cleans.get(_setting(run))) for run in others]


def _is_published(run: Metrics, one: Published) -> bool:
    return _is_of(run, one, Generator(size="", start="random"))


def _setting(run: Metrics) -> tuple[str, ...]:
    """Equal for what can be compared."""
    return run["dataset"], run["model"], run["encoder"], run.get("metric", "IoU"), *run.get("defences", ())


def _other_row(run: Metrics, clean: Metrics | None) -> Row:
    score = next((name for name, (metric, _) in SCORES.items() if metric == run.get("metric", "IoU")), "mIoU")
    share = run.get("protected_share", 1)
    method = run["method"].removesuffix(f" {share:.0%}")
    parts = [method, *run.get("defences", ()), "" if share == 1 else f"{share:.0%} of the images"]
    return Row(
        dataset=run["dataset"],
        model=_model_name(run["model"], run["encoder"]),
        setting=", ".join(part for part in parts if part),
        score=score,
        ours_clean=_percent(clean, score),
        ours_protected=_percent(run, score),
        run=run["run"],
        seeds=len(run["seeds"]),
    )


def _model_name(model: str, encoder: str) -> str:
    return model if not encoder or model in WITHOUT_ENCODER else f"{model} {encoder}"


def _percent(run: Metrics | None, score: str) -> float | None:
    value = None if run is None else run.get(SCORES[score][1], run["iou_mean"])
    return None if value is None else round(100 * float(value), 1)


SETTING = ("data set", "model", "protected by", "score")
PUBLISHED_HEAD = (*SETTING, "paper: clean", "protected", "ours: clean", "protected")
OTHERS_HEAD = (*SETTING, "clean", "protected", "run", "seeds")
NUMBERS = {"paper: clean", "protected", "ours: clean", "clean", "seeds"}
WIDTH = 110


def page(published: Sequence[Row], others: Sequence[Row], generator: Generator, *, markdown: bool) -> str:
    """Both tables as text or Markdown."""
    count = sum(row.ours_protected is not None for row in published)
    first = [
        (row.dataset, row.model, row.setting, row.score, _cell(row.paper_clean), _cell(row.paper_protected),
         _ours(row.ours_clean), _ours(row.ours_protected))
        for row in published
    ]  # fmt: skip
    second = [
        (row.dataset, row.model, row.setting, row.score, _ours(row.ours_clean), _ours(row.ours_protected), row.run,
         str(row.seeds))
        for row in others
    ]  # fmt: skip
    heading = "## " if markdown else ""
    words = (
        f"Scores in % on clean test images, of models trained on clean and on protected ones. {count} of "
        f"{len(published)} rows were run here; our copies are by a generator of size {generator.size}, started from "
        f"{generator.start}, and our recipes are those of params.yaml."
    )
    parts = [
        f"{heading}The paper and ours",
        textwrap.fill(words, WIDTH),
        _table(PUBLISHED_HEAD, first, markdown),
        _table(("cost", "paper", "ours"), [(*cost, NOT_RUN) for cost in COSTS], markdown),
        f"{heading}Ours beyond the paper",
        _table(OTHERS_HEAD, second, markdown) if second else "None was run.",
    ]
    return "\n\n".join(parts)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _ours(value: float | None) -> str:
    return NOT_RUN if value is None else f"{value:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], markdown: bool) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    right = [name in NUMBERS for name in head]
    texts = [
        [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    rule = [
        f"{'-' * (width - 1)}{':' if number and markdown else '-'}" for width, number in zip(widths, right, strict=True)
    ]
    if markdown:
        return "\n".join(f"| {' | '.join(line)} |" for line in (texts[0], rule, *texts[1:]))
    return "\n".join("  ".join(line).rstrip() for line in (texts[0], rule, *texts[1:]))


if __name__ == "__main__":
    run(main)
