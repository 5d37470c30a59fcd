"""The noise generator as an MLflow model. MLflow copies this file into the model and runs it on loading.

It may therefore import `unseg_core`, which travels with the model, but nothing from `tasks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel

from unseg_core.errors import DataError, ImageError, ParameterError
from unseg_core.model.weights import load_generator
from unseg_core.protect.methods.unseg import image_noise

PROMPTS = ("mask", "box", "point", "whole")


def _entry(model_input: Any, name: str) -> np.ndarray:
    if not isinstance(model_input, Mapping) or name not in model_input:
        raise ImageError(
            f"the input has no {name!r}; give a mapping with 'image' (uint8 HxWx3) and 'region' (bool HxW)"
        )
    return np.asarray(model_input[name])


def _image_of(model_input: Any) -> np.ndarray:
    image = _entry(model_input, "image")
    whole = image.dtype.kind in "iu" and image.size > 0 and image.min() >= 0 and image.max() <= 255
    if image.ndim != 3 or image.shape[2] != 3 or not whole:
        raise ImageError(f"image is {image.dtype} {image.shape}; give whole numbers 0..255, HxWx3")
    return image.astype(np.uint8)


def _region_of(model_input: Any) -> np.ndarray:
    region = _entry(model_input, "region")
    if region.ndim != 2 or region.dtype.kind not in "biu" or not np.isin(region, (0, 1)).all():
        raise ImageError(f"region is {region.dtype} {region.shape}; give true and false, HxW")
    return region.astype(bool)


# MLflow warns that `model_input` has no type hint in its schema language; the signature in tasks/register.py says it.
with warnings.catch_warnings(record=True):

    class GeneratorModel(PythonModel):
        """`predict({"image": ..., "region": ...})` -> noise. Artifacts: `generator` (safetensors) and `card` (JSON)."""

        def load_context(self, context: Any) -> None:
            """Load the generator: on the CPU, in evaluation mode."""
            self.generator = load_generator(context.artifacts["generator"])

        def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
            """Noise of one image.

            Args:
                context: unused.
                model_input: a mapping with `image`, uint8 HxWx3, and `region`, bool HxW (the union of the objects to
                    protect). Lists of numbers, which a scoring server passes on, are taken too.
                params: `prompt`: "mask" (default), "box", "point" or "whole"; `seed` of the points, 0 by default.

            Returns:
                float32 3xHxW in [-1, 1]; the same bits as `image_noise` of the file.

            Raises:
                ImageError: image or region is missing, or of another shape, type or range.
                DataError: the region is empty and the prompt is a box or points.
                ParameterError: the prompt is unknown.
            """
            image, region = _image_of(model_input), _region_of(model_input)
            if region.shape != image.shape[:2]:
                raise ImageError(
                    f"region is {region.shape} and image {image.shape}; give both the same height and width"
                )
            prompt, seed = str((params or {}).get("prompt", "mask")), int((params or {}).get("seed", 0))
            if prompt not in PROMPTS:
                raise ParameterError(f"prompt is {prompt!r}; choose one of {', '.join(PROMPTS)}")
            if prompt in ("box", "point") and not region.any():
                raise DataError(
                    f"region is empty, so there is no {prompt} prompt; mark an object or use prompt 'whole'"
                )
            return image_noise(self.generator, image, region, prompt=prompt, seed=seed)


mlflow.models.set_model(GeneratorModel())
