"""How long do commands take that need no network, and how long would they if they loaded torch first?

`python -m benchmarks.startup FOLDER`: a folder of a few images and masks.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rounds import machine

FIRST = {"ours": "", "with torch": "import torch, torchvision; "}
RUN = "import sys; from unseg_core.cli import app; app(sys.argv[1:])"


def seconds(first: str, *arguments: object) -> float:
    """Of a process, wall clock."""
    start = time.perf_counter()
    command = [sys.executable, "-c", FIRST[first] + RUN, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(machine("cpu", 1))
    print("| command | ours | with torch | ratio |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work, "copy")
        commands = {
            "protect": ("protect", options.folder, copy, "--overwrite"),
            "verify": ("verify", copy, "--against", options.folder),
            "report": ("report", copy, "--against", options.folder, "--out", Path(work, "report.html")),
        }
        for name, arguments in commands.items():
            times: dict[str, list[float]] = {first: [] for first in FIRST}
            seconds("with torch", *arguments)  # files come from the disk the first time
            for _ in range(options.rounds):
                for first, found in times.items():
                    found.append(seconds(first, *arguments))
            ours, theirs = map(statistics.median, times.values())
            print(f"| {name} | {ours:.2f} s | {theirs:.2f} s | {theirs / ours:.1f} x |", flush=True)


if __name__ == "__main__":
    main()
