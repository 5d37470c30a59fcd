"""Masks that a generator's SAM parts propose, against `segment_anything` with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import MaskDecoder, Sam

from unseg_core.data.sample import mask_of
from unseg_core.errors import WeightsError
from unseg_core.model.automatic_masks import MaskProposer, check_has_sam, sam_of
from unseg_core.model.generator import Generator
from unseg_core.model.parts import build_image_encoder, build_prompt_encoder, build_transformer
from unseg_core.model.sizes import TINY
from unseg_core.model.weights import initialise, save_weights

GENERATOR = initialise(Generator, TINY, 3).eval()
# An untrained SAM is sure of nothing.
ANYTHING: dict[str, Any] = {"points_per_side": 6, "predicted_iou": -100.0, "stability": 0.0, "largest_share": 1.0}


def their_sam() -> Sam:
    """SAM as `segment_anything` builds it, with the generator's weights."""
    sam = Sam(
        build_image_encoder(TINY, TINY.input_size),
        build_prompt_encoder(TINY, TINY.input_size),
        MaskDecoder(
            transformer_dim=TINY.prompt_dim, transformer=build_transformer(TINY), iou_head_hidden_dim=TINY.prompt_dim
        ),
    )
    state = {name: tensor for name, tensor in GENERATOR.state_dict().items() if "noise" not in name}
    sam.load_state_dict(state)  # strict: every entry has its place
    return sam.eval()


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)


def test_the_parts_are_sam(image: np.ndarray) -> None:
    point, label = np.array([[50.0, 30.0]]), np.ones(1)
    answers = []
    for sam in (sam_of(GENERATOR), their_sam()):
        predictor = SamPredictor(sam)
        predictor.set_image(image)
        answers.append(predictor.predict(point, label, return_logits=True))
    for ours, theirs in zip(*answers, strict=True):
        assert np.abs(ours - theirs).max() < 1e-4 * max(1.0, np.abs(theirs).max())


def test_proposals_are_those_of_sam_smaller_on_top(image: np.ndarray) -> None:
    theirs = SamAutomaticMaskGenerator(
        their_sam(), points_per_side=6, pred_iou_thresh=-100.0, stability_score_thresh=0.0
    ).generate(image[:96, :96])
    target = MaskProposer(GENERATOR, **ANYTHING).propose(image[:96, :96])
    ours = [mask_of(segment) for segment in target.segments]
    assert len(ours) == len([one for one in theirs if one["area"]]) > 0
    assert [mask.sum() for mask in ours] == sorted((mask.sum() for mask in ours), reverse=True)
    for one in theirs:
        differing = min((mask != one["segmentation"]).mean() for mask in ours)
        assert one["area"] == 0 or differing < 1e-3


def test_the_background_is_no_object(image: np.ndarray) -> None:
    everything = MaskProposer(GENERATOR, **ANYTHING).propose(image)
    areas = [mask_of(segment).mean() for segment in everything.segments]
    share = (min(areas) + max(areas)) / 2
    fewer = MaskProposer(GENERATOR, **{**ANYTHING, "largest_share": share}).propose(image)
    assert len(fewer.segments) == sum(area <= share for area in areas)
    assert not MaskProposer(GENERATOR).propose(image).segments, "an untrained SAM is sure of nothing"


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (500, 300), (40, 97)])
def test_any_size(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = torch.get_rng_state()
    first, second = (MaskProposer(GENERATOR, **ANYTHING).propose(image) for _ in range(2))
    assert first.mask.shape == shape
    assert first.segments == second.segments
    assert torch.equal(before, torch.get_rng_state())
    assert set(np.unique(first.labels)) <= {0, 1}


def test_only_a_generator_that_started_from_sam_can_propose(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    for provenance, fits in (
        ({"initialisation": "sam"}, True),
        ({"initialisation": "published"}, True),
        ({"initialisation": "random"}, False),
        ({"initialisation": "sam", "train_sam": True}, False),
        ({}, False),
    ):
        save_weights(GENERATOR, path, kind="generator", provenance=provenance)
        if fits:
            check_has_sam(path)
        else:
            with pytest.raises(WeightsError, match="no SAM in it that could propose masks; give masks"):
                check_has_sam(path)
