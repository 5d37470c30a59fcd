"""The examples, copied out of the project and run as their READMEs say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, write_pairs
from test_protect import tree

from unseg_core.model.generator import Generator
from unseg_core.model.sizes import TINY
from unseg_core.model.weights import initialise, save_weights
from unseg_core.protect.manifest import OWN_FILES, read_manifest

OWN_PIPELINE = PROJECT / "examples" / "own-pipeline"


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment, away from the project."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site"),
    }
    environment.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def succeed(root: Path, *command: str) -> str:
    done = run(root, *command)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.slow
def test_a_team_s_own_pipeline_protects_in_one_stage(tmp_path: Path, rng: np.random.Generator) -> None:
    root = tmp_path / "team"
    shutil.copytree(OWN_PIPELINE, root)
    write_pairs(root / "data" / "raw", 3, rng)
    generator = root / "models" / "generator.safetensors"
    sha256 = save_weights(initialise(Generator, TINY, 1), generator, kind="generator", provenance={})
    succeed(root, "git", "init", "-q")
    succeed(root, "dvc", "init", "-q")
    succeed(root, "dvc", "add", "-q", "data/raw", "models/generator.safetensors")
    succeed(root, "dvc", "repro")
    photos, safe = tree(root / "data" / "photos"), tree(root / "data" / "safe")
    assert set(safe) == set(photos) | set(OWN_FILES)
    assert {name for name in photos if photos[name] != safe[name]} == {f"images/photo 0{i}.png" for i in range(3)}
    summary, _ = read_manifest(str(root / "data" / "safe"))
    assert (summary["totals"]["protected"], summary["settings"]["generator_sha256"]) == (3, sha256)
    assert ".png" not in succeed(root, "git", "status", "--short", "--untracked-files=all"), "data is DVC's, not git's"
    assert "Running stage" not in succeed(root, "dvc", "repro")
    write_pairs(root / "data" / "raw", 4, rng)
    succeed(root, "dvc", "repro")
    assert len(list((root / "data" / "safe" / "images").iterdir())) == 4
    # The gate holds what cannot be shown to be protected.
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("audited: []", "audited: [safe]"))
    stopped = run(root, "dvc", "repro")
    assert stopped.returncode != 0
    assert "cannot tell: the data set is too small: 3 images to train on and 1 to test on" in stopped.stdout
    assert json.loads((root / "metrics" / "audit-safe.json").read_text())["verdict"] == "cannot tell"


def test_the_examples_are_no_stages_of_this_project() -> None:
    assert "/examples/" in (PROJECT / ".dvcignore").read_text().splitlines()
