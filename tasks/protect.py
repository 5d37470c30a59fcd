"""Stages `protect@DATASET` and `baseline@DATASET-METHOD`: a protected copy, checked against its original."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tasks.entry import FAILED, OK, chosen, run
from tasks.parameters import load_params
from tasks.results import write_json
from tasks.work import work_folder
from unseg_core import __version__, storage
from unseg_core.data.dataset import open_dataset
from unseg_core.model.fingerprint import generator_sha256
from unseg_core.protect.choice import Examination
from unseg_core.protect.engine import protect_with
from unseg_core.protect.execution import choose_engine, execution_of
from unseg_core.protect.manifest import Settings
from unseg_core.protect.methods import prepare_for
from unseg_core.protect.origin import recorded_annotations
from unseg_core.protect.shares import Recipe
from unseg_core.protect.verify import Verification, verify_copy
from unseg_core.train.files import GENERATOR_FILE

GENERATOR = Path("data/generator", GENERATOR_FILE)


def main(arguments: list[str]) -> int:
    name, method_name = arguments
    params = load_params()
    dataset = chosen("datasets", name, params.datasets)
    device, precision = prepare_for(method_name, params.runtime)
    generator = GENERATOR if method_name == "unseg" else None
    layout, dataset = open_dataset(dataset, f"data/datasets/{name}")
    dataset = replace(dataset, annotations=recorded_annotations(layout.root, dataset.annotations))
    examination = Examination(layout, dataset.targets)
    settings = Settings.of(
        dataset,
        params.protect,
        method=method_name,
        generator_sha256=generator_sha256(generator) if generator else None,
        precision=precision,
        class_order=examination.class_order(method_name),
        cycles=examination.cycles(method_name),
    )
    for warning in examination.warnings(method_name):
        print(f"{name}: {warning}", file=sys.stderr)
    made_by = {**asdict(settings), "version": __version__}
    work = work_folder(f"protect-{name}-{method_name}", made_by, [Path(layout.root)])
    how = execution_of(params.protect, threads=params.runtime.threads)
    engine = choose_engine(Recipe.of(settings, generator=generator, device=device), how, device)
    summary = protect_with(engine, layout, settings, str(work / "copy"), finish=True)
    verification = verify_copy(str(work / "copy"), layout.root, layout=layout)
    write_json(f"metrics/protect/{name}-{method_name}.json", _metrics(name, summary, verification))
    storage.replace_folder(work / "copy", Path("data/protected", name, method_name))
    storage.remove_folder(work)
    return _verdict(name, summary["totals"], verification)


def _metrics(name: str, summary: dict[str, Any], verification: Verification) -> dict[str, Any]:
    settings = summary["settings"]
    kept = {
        key: settings[key] for key in ("method", "generator_sha256", "prompt", "precision", "epsilon", "epsilon_bg")
    }
    verified = {
        "checked": verification.checked,
        "differences": len(verification.differences),
        "over_budget": len(verification.over_budget),
        "other_pictures": verification.other_pictures,
    }
    return {
        "dataset": name,
        **kept,
        **summary["totals"],
        "verified": verified,
        "manifest_sha256": summary["manifest_sha256"],
    }


def _verdict(name: str, totals: dict[str, int], verification: Verification) -> int:
    for difference in verification.differences[:20]:
        print(f"{name}: {difference}", file=sys.stderr)
    failed, protected = totals["failed"], totals["protected"]
    if failed:
        print(f"{name}: {failed} images failed; manifest.jsonl says why", file=sys.stderr)
    if not protected:
        print(f"{name}: no image was protected; check targets and masks", file=sys.stderr)
    return FAILED if failed or not protected or verification.differences else OK


if __name__ == "__main__":
    run(main)
