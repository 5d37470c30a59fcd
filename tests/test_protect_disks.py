"""Protecting onto a disk that fills up and onto one that is read-only: real file systems, mounted for the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, write_pairs
from test_engine import protect_folder
from test_protect import tree

# In a mount namespace of its own: $1 is a folder to mount on, $2 the mount's options; then come commands.
MOUNT = 'mount -t tmpfs -o "$2" none "$1" || exit 99; '
PROTECT = '"$3" -m unseg_core.cli protect "$4" "$1/copy" --method uniform --layout folder --workers 2'


def mounted(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", MOUNT + script, "sh", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        works = mounted("true", folder, "size=1m").returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        pytest.skip("no mount namespaces here: file systems cannot be mounted for a test")
    return folder


@pytest.mark.slow
def test_a_full_disk_stops_with_one_line_and_with_room_the_same_command_ends_it(
    disk: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    source = write_pairs(tmp_path / "source", 12, rng, side=300)
    script = f"""
        {PROTECT}; echo first $?
        test -e "$1/copy/manifest.json" && echo finished
        mount -o remount,size=100m "$1"
        {PROTECT}; echo second $?
        cp -r "$1/copy" "$5"
    """
    done = mounted(script, disk, "size=2m", sys.executable, source, tmp_path / "taken")
    codes = [line for line in done.stdout.splitlines() if line.startswith(("first", "second", "finished"))]
    assert codes == ["first 2", "second 0"], done.stderr
    assert "No space left on device" in done.stderr
    assert "make room" in done.stderr
    assert "Traceback" not in done.stderr
    protect_folder(source, tmp_path / "whole")
    assert tree(tmp_path / "taken") == tree(tmp_path / "whole")


@pytest.mark.slow
def test_a_read_only_target_is_one_line_before_any_work(disk: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    source = write_pairs(tmp_path / "source", 2, rng)
    done = mounted(f'mount -o remount,ro "$1"; {PROTECT}', disk, "size=1m", sys.executable, source)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "Read-only file system" in done.stderr
