"""The model card beside a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECIPE = {
    "size": "size",
    "noise_filter": "filter of the noise",
    "epochs": "epochs",
    "surrogate_every": "surrogate trained every so many epochs",
    "batch_size": "images of a step",
    "learning_rate": "learning rate (Adam)",
    "decay_epoch": "a tenth of it from epoch",
    "epsilon": "budget on the object, 8-bit levels",
    "epsilon_bg": "budget elsewhere, 8-bit levels",
    "label_modification": "target of the generator is all ones",
    "surrogate_prompt": "the surrogate's prompt",
    "degradations": "degradations before the surrogate",
    "train_sam": "SAM's parts trained too",
    "seed": "seed",
    "precision": "precision",
}
HEALTH = {
    "noise_std": "standard deviation of the noise (of 1)",
    "noise_saturated": "share of saturated values",
    "noise_dead_channels": "dead channels",
    "surrogate_iou_noised": "surrogate's IoU on noised training images",
    "surrogate_iou_clean": "surrogate's IoU on the same images, clean",
}


def model_card(recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Markdown: what the generator is for, what it was trained on and how, what was measured, and how to check it."""
    sources = "".join(f"| {one['name']} | {one['images']} |\n" for one in recipe["training"])
    starts = "".join(f"- start `{name}`: sha256 `{sha256}`\n" for name, sha256 in recipe["start"].items())
    skipped = ", ".join(f"{count} {reason}" for reason, count in metrics["skipped"].items()) or "none"
    return f"""# Noise generator ({recipe["size"]})

Makes the noise with which `unseg protect --generator generator.safetensors` turns a segmentation data set into an
unlearnable copy. Method: UnSeg (Sun et al., NeurIPS 2024). Training it does not prove that it protects: see the
evaluation of copies made with it, or run your own.

- `generator.safetensors`: sha256 `{metrics["generator_sha256"]}`, {metrics["parameters"]:,} parameters,
  of which {metrics["trained_parameters"]:,} were trained
{starts}
## Data

The licence of the training data also concerns the generator; ask whoever provided them.

| source | images |
| --- | --- |
{sources}
Left out because they cannot be used: {skipped}.

## Recipe

{_table(RECIPE, recipe)}
## Measured after the last epoch

{_table(HEALTH, metrics)}{_validation(metrics["validation"])}
`panel.png` shows, for a few training images: image, noise, noised image, label, and the surrogate's mask on the noised
and on the clean image.
"""


def _table(labels: Mapping[str, str], values: Mapping[str, Any]) -> str:
    rows = "".join(f"| {label} | {_text(values[name])} |\n" for name, label in labels.items() if name in values)
    return f"| | |\n| --- | --- |\n{rows}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _validation(sets: Mapping[str, Mapping[str, float]]) -> str:
    if not sets:
        return ""
    names = ("iou_noised", "iou_clean", "boundary_iou_noised", "boundary_iou_clean")
    rows = "".join(
        f"| {name} | {scores['images']} | {' | '.join(f'{scores[one]:.3f}' for one in names)} |\n"
        for name, scores in sets.items()
    )
    head = "| validation set | images | IoU noised | clean | boundary IoU noised | clean |\n| --- "
    return f"\n{head}| --- | --- | --- | --- | --- |\n{rows}"
