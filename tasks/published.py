"""The paper's results, as published: Sun et al., NeurIPS 2024 (arXiv 2410.09909). Scores in %, on clean test sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number of the paper with what it was measured on."""

    dataset: str
    model: str
    """A name in unseg_core.evaluate.models.MODELS."""
    encoder: str = ""
    """As the metrics have it; empty: the model has only one."""
    score: str = "mIoU"
    """mIoU, PQ or AP."""
    method: str = "unseg"
    prompt: str = "mask"
    """How the generator was told the region."""
    defence: str = ""
    """In the downstream training."""
    start: str = "sam"
    """What the generator's training started from."""
    clean: float
    protected: float


def _kvasir(encoder: str, clean: float, protected: float) -> Published:
    return Published(dataset="kvasir", model="unetplusplus", encoder=encoder, clean=clean, protected=protected)


def _voc(protected: float, prompt: str = "mask", start: str = "sam") -> Published:
    return Published(
        dataset="voc", model="deeplabv1", prompt=prompt, start=start, clean=70.6, protected=protected
    )  # fmt: skip


def _defended(protected: float, defence: str = "") -> Published:
    return Published(dataset="voc", model="deeplabv3", defence=defence, clean=75.1, protected=protected)


def _mask2former(dataset: str, score: str, clean: float, protected: float, method: str = "unseg") -> Published:
    return Published(
        dataset=dataset, model="mask2former", encoder="resnet50", score=score, method=method, clean=clean,
        protected=protected,
    )  # fmt: skip


PUBLISHED = (
    _voc(6.2),
    _voc(6.4, prompt="box"),
    _voc(6.0, prompt="point"),
    _voc(4.8, start="random"),
    _defended(5.8),
    _defended(23.1, "adversarial"),
    _defended(28.5, "ddc-at"),
    _mask2former("ade20k", "PQ", 39.7, 11.7),
    _mask2former("ade20k", "AP", 26.4, 6.2),
    _mask2former("ade20k", "mIoU", 47.2, 16.7),
    _mask2former("coco", "PQ", 51.9, 4.2),
    _mask2former("coco", "AP", 43.7, 4.0),
    _mask2former("cityscapes", "PQ", 62.1, 5.7),
    _mask2former("cityscapes", "AP", 37.4, 2.3),
    _mask2former("cityscapes", "mIoU", 79.4, 10.9),
    _kvasir("resnet50", 72.3, 2.5),
    _kvasir("densenet169", 73.6, 6.0),
    _kvasir("efficientnet-b6", 74.0, 7.4),
    _kvasir("tu-res2net50_26w_4s", 73.6, 6.7),
    _kvasir("tu-regnetx_080", 72.6, 2.1),
    _mask2former("ade20k", "mIoU", 47.2, 43.9, method="ar"),
    _mask2former("ade20k", "mIoU", 47.2, 19.6, method="cuda"),
    _mask2former("cityscapes", "mIoU", 79.4, 68.9, method="ar"),
    _mask2former("cityscapes", "mIoU", 79.4, 65.8, method="cuda"),
)

COSTS = (
    ("one image, RTX 4090", "113.52 ms, 2,893 MB GPU memory, 385.37 MB of weights"),
    ("training on 44k images, 8 x RTX 3090", "10 hours"),
)
"""What, and what the paper says. Nothing here measures them: they need those machines."""
