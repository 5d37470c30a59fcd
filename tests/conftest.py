"""Fixtures for all tests. Real data is read from UNSEG_DATA, or from ../shared/data beside the project."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from PIL import Image
from prefect_fixtures import prefect_server  # noqa: F401  # a fixture for test_flows.py

from tasks.entry import data_root

PROJECT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that at the end no process waits for another that has just begun one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Root of the real photographs; skips where they are not."""
    os.chdir(PROJECT)
    root = data_root()
    if root is None or not root.is_dir():
        pytest.skip("no real data: set UNSEG_DATA to the folder that holds kvasir/, objects/, ...")
    return root.resolve()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(7))


def write_pairs(root: Path, count: int, rng: np.random.Generator, *, extension: str = "png", side: int = 40) -> Path:
    """A folder data set of random images with one disc each: images/ and masks/."""
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:side, : side + 8]
    for i in range(count):
        pixels = rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8)
        y, x = rng.integers(12, side - 12, 2)
        mask = ((rows - y) ** 2 + (columns - x) ** 2 < 90).astype(np.uint8) * 255
        Image.fromarray(pixels).save(root / "images" / f"photo {i:02d}.{extension}")
        Image.fromarray(mask).save(root / "masks" / f"photo {i:02d}.png")
    return root
