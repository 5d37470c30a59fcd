"""Stage `audit@DATASET`: may the protected copy be released? It fails if not, and if that cannot be told."""

from __future__ import annotations

import sys

from tasks.entry import FAILED, OK, chosen, run
from tasks.parameters import load_params
from tasks.results import write_json
from tasks.work import work_folder
from unseg_core import storage
from unseg_core.audit.pair import open_pair
from unseg_core.audit.run import run_audit, work_name
from unseg_core.audit.words import audit_text
from unseg_core.data.dataset import open_dataset
from unseg_core.protect.manifest import read_summary, settings_from


def main(arguments: list[str]) -> int:
    (name,) = arguments
    params = load_params()
    dataset = chosen("datasets", name, params.datasets)
    copy, source = f"data/protected/{name}/{params.audit.method}", f"data/datasets/{name}"
    original, _ = open_dataset(dataset, source)
    pair = open_pair(copy, original, settings_from(read_summary(copy)["settings"]))
    work = work_folder(f"audit-{name}", work_name(pair, params.audit, params.runtime), [])
    found = run_audit(pair, params.audit, params.runtime, work)
    # Seconds differ from run to run, and DVC compares metrics by their bytes.
    kept = {key: value for key, value in found.as_json().items() if key not in ("seconds", "versions")}
    write_json(f"metrics/audit/{name}.json", {**kept, "dataset": name})
    print(audit_text(found))
    if found.complete:
        storage.remove_folder(work)
    if found.verdict.answer == "protected":
        return OK
    print(f"{name}: {found.verdict.answer}; metrics/audit/{name}.json has the numbers", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    run(main)
