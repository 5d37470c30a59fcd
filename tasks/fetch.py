"""Stage `fetch@SOURCE`: bring or render one data set."""

from __future__ import annotations

from pathlib import Path

from tasks.entry import chosen, data_root, run
from tasks.parameters import load_params
from unseg_core.data.sources import fetch_source


def main(arguments: list[str]) -> None:
    (name,) = arguments
    source = chosen("sources", name, load_params().sources)
    count = fetch_source(source, Path("data", source.role, name), data_root=data_root())
    print(f"{name}: {count} images")


if __name__ == "__main__":
    run(main)
