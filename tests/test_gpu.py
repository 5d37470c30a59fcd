"""The same work on a GPU. Needs neither the pipeline's packages nor fixtures:

python -m pytest tests/test_gpu.py --noconftest
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN, array, fill_by_rule, png
from PIL import Image

from unseg_core.device import autocast, prepare_device
from unseg_core.evaluate.dataset import LabelledImages
from unseg_core.evaluate.run import evaluate_seeds
from unseg_core.image_tensors import network_input
from unseg_core.model.generator import Generator
from unseg_core.model.prompts import Prompts
from unseg_core.model.sizes import SIZES
from unseg_core.params import EvaluateParams, RuntimeParams
from unseg_core.protect.mask_prompt import mask_prompt

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
GPU = RuntimeParams(device="cuda", threads=2)
PROJECT = Path(__file__).parents[1]


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no golden numbers: set UNSEG_GOLDEN to their folder")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-4), ("bf16", 4e-2)])
def test_golden_noise(precision: str, tolerance: float) -> None:
    device = prepare_device(GPU)
    network = Generator(size=SIZES["vit_b"]).eval()
    fill_by_rule(network)
    first = torch.zeros(1, dtype=torch.long)
    prompts = Prompts(image=first, row=first, masks=mask_prompt(png("b_gradient_mask") > 127, 256)[None])
    image = network_input(png("b_gradient_image"), 1024)[None]
    with torch.inference_mode(), autocast(device, precision):  # type: ignore[arg-type]  # one of the two
        noise = network.to(device)(image.to(device), [prompts.to(device)]).float().cpu()
    assert (noise - torch.from_numpy(array("b_gradient_noise"))).abs().max() < tolerance


def _unseg(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "unseg_core.cli", *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _discs(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, S, S, 3] of a brighter disc each, and masks uint8 [N, S, S] of 0 and 1."""
    random = np.random.Generator(np.random.PCG64(3))
    rows, columns = np.mgrid[:side, :side]
    middles = random.integers(side // 4, side - side // 4, (count, 2, 1, 1))
    masks = ((rows - middles[:, 0]) ** 2 + (columns - middles[:, 1]) ** 2 < (side // 5) ** 2).astype(np.uint8)
    images = random.integers(0, 120, (count, side, side, 3)) + 100 * masks[..., None]
    return images.astype(np.uint8), masks


def _folder(root: Path, count: int) -> Path:
    for sub in ("images", "masks"):
        (root / sub).mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(*_discs(count, 96), strict=True)):
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(255 * mask).save(root / "masks" / f"{number}.png")
    return root


def test_protects_as_a_cpu_does(tmp_path: Path) -> None:
    source, copies = _folder(tmp_path / "photos", 3), {}
    for device in ("cpu", "cuda"):
        copy = tmp_path / device
        _unseg("protect", str(source), str(copy), "--method", "unseg", "--device", device)
        _unseg("verify", str(copy), "--against", str(source))
        copies[device] = np.stack([np.asarray(Image.open(copy / "images" / f"{n}.png")).astype(int) for n in range(3)])
    difference = np.abs(copies["cpu"] - copies["cuda"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_trains_a_generator(tmp_path: Path) -> None:
    source, start, out = _folder(tmp_path / "photos", 6), tmp_path / "start", tmp_path / "generator"
    _unseg("weights", str(start), "--size", "tiny")
    recipe = ["train.epochs=2", "train.surrogate_every=2", "runtime.device=cuda", "runtime.precision=bf16"]
    settings = [part for one in recipe for part in ("--set", one)]
    metrics = json.loads(_unseg("train", str(source), "--weights", str(start), "--out", str(out), *settings, "--json"))
    assert metrics["noise_std"] > 0
    _unseg("protect", str(source), str(tmp_path / "safe"), "--generator", str(out / "generator.safetensors"))


@pytest.mark.parametrize(
    ("model", "encoder"), [("unet", ""), ("unetplusplus", "resnet18"), ("mask2former", "resnet50")]
)
def test_downstream_models_learn(model: str, encoder: str, tmp_path: Path) -> None:
    images, masks = _discs(16, 64)
    data = LabelledImages(
        images=torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
        labels=torch.from_numpy(masks),
        ids=tuple(map(str, range(16))),
    )
    recipe = EvaluateParams(
        model=model, encoder=encoder, decoder_channels=(32, 16, 16), width="tiny", size=64, epochs=40,
        batch_size=8, learning_rate=3e-3, test_every=40, seeds=(0,), precision="bf16",
    )  # fmt: skip
    (result,) = evaluate_seeds(data, data, ("disc",), recipe, GPU, tmp_path)
    assert result.iou > 0.8
