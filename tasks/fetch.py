"""Stage `fetch@SOURCE`: bring or render one data set."""

from __future__ import annotations

from pathlib import Path

from tasks.entry import chosen, data_root, run
from tasks.parameters import load_params
from tasks.work import WORK
from unseg_core.data.sources import fetch_source


def main(arguments: list[str]) -> None:
    (name,) = arguments
    source = chosen("sources", name, load_params().sources)
    target = Path("data", source.role, name)
    count = fetch_source(source, target, data_root=data_root(), work=WORK / "fetch" / name)
    print(f"{name}: {count} images")


if __name__ == "__main__":
    run(main)
