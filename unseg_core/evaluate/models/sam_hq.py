"""SAM-HQ (Ke et al., NeurIPS 2023) from transformers: one object for one prompt.

From published weights SAM stays as it is and the parts of HQ are trained, as in the paper; from random ones everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from unseg_core.errors import ParameterError
from unseg_core.evaluate.batch import Batch, Objects
from unseg_core.evaluate.models.model import DownstreamModel, Entry
from unseg_core.evaluate.predictions import CHUNK, enlarged_masks
from unseg_core.evaluate.pretrained import from_hub
from unseg_core.model.prompts import POINTS_PER_OBJECT, roughen_mask
from unseg_core.train.losses import IMPORTANCE_SHARE, OVERSAMPLING, importance_points, point_losses

if TYPE_CHECKING:
    from unseg_core.params import EvaluateParams

ENCODERS: dict[str, tuple[int, int, int, tuple[int, ...]]] = {
    "vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}
"""Width, depth, heads and blocks with global attention of SAM's encoders."""
TINY_ENCODER: dict[str, Any] = {"window_size": 4, "patch_size": 8, "output_channels": 32, "num_pos_feats": 16}
TINY_DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
POINTS = {"paper": 12_544, "tiny": 1024}
"""At which the loss is sampled, by width."""
MAX_OBJECTS = 8
"""Of an image in one training step, drawn at random."""
HQ_PARTS = ("hq_token", "hq_mask_mlp", "compress_vit", "encoder_", "mask_conv", "mask_norm")
"""Names in the mask decoder of what HQ adds to SAM."""


class SamHq(DownstreamModel):
    def __init__(self, network: Any, points: int, *, frozen: bool) -> None:
        super().__init__()
        self.network = network
        self.points = points
        self.frozen = frozen
        if frozen:
            network.requires_grad_(False)
            for name, parameter in network.mask_decoder.named_parameters():
                parameter.requires_grad_(name.startswith(HQ_PARTS))

    def loss(self, batch: Batch) -> Tensor:
        """BCE + dice of each object at uncertain points; its prompt is a box, points or a rough mask at random."""
        chosen = [_some(one.visible()) for one in batch.objects]
        encoded = self._encode(batch)
        losses = []
        for image, objects in enumerate(chosen):
            if len(objects.masks):
                logits = self._decode(encoded, image, **self._random_prompts(objects))
                target = objects.masks[:, None].float()
                bce, dice = point_losses(logits, target, self._uncertain(logits))
                losses.append((bce + dice) * len(objects.masks))
        if not losses:
            return self._zero()
        return torch.stack(losses).sum() / sum(len(one.masks) for one in chosen)

    def _zero(self) -> Tensor:
        """0 with a gradient to every trained part, for a batch without objects."""
        return torch.stack([p.sum() * 0.0 for p in self.parameters() if p.requires_grad]).sum()

    def _encode(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Image embeddings [B, C, h, w] and the outputs of the blocks with global attention [B, h, w, D]."""
        # SAM pads with 0 after normalising.
        images = batch.images * batch.inside()[:, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            output = self.network.vision_encoder(images)
        return output.last_hidden_state, list(output.intermediate_embeddings)

    def _decode(self, encoded: tuple[Tensor, list[Tensor]], image: int, **prompts: Tensor) -> Tensor:
        """Logits [N, 1, s, s] of one image's N prompts."""
        count = len(next(iter(prompts.values())))
        embeddings, early = encoded
        output = self.network(
            image_embeddings=embeddings[image : image + 1].expand(count, -1, -1, -1),
            intermediate_embeddings=[part[image : image + 1].expand(count, -1, -1, -1) for part in early],
            multimask_output=False,
            hq_token_only=True,
            **prompts,
        )
        return cast(Tensor, output.pred_masks[:, 0])

    def _random_prompts(self, objects: Objects) -> dict[str, Tensor]:
        kind = int(torch.randint(3, ()))
        if kind == 0:
            return {"input_boxes": objects.boxes[:, None]}
        if kind == 1:
            return {"input_points": torch.stack([_points(mask) for mask in objects.masks])[:, None]}
        encoder = self.network.prompt_encoder
        side = 4 * encoder.image_embedding_size[0]
        small = torch.nn.functional.interpolate(objects.masks[:, None].float() * 255.0, size=(side, side))
        # A mask alone has no tokens, which the decoder insists on: a point of no meaning stands in.
        nothing = objects.boxes.new_zeros((len(small), 1, 1, 2))
        return {
            "input_masks": roughen_mask(small, torch.randn_like(small)),
            "input_points": nothing,
            "input_labels": -torch.ones_like(nothing[..., 0]),
        }

    def _uncertain(self, logits_N1ss: Tensor) -> Tensor:
        certain = int(IMPORTANCE_SHARE * self.points)
        count, device = len(logits_N1ss), logits_N1ss.device
        candidates = torch.rand(count, OVERSAMPLING * self.points, 2, device=device)
        rest = torch.rand(count, self.points - certain, 2, device=device)
        return importance_points(logits_N1ss.detach(), candidates, rest, certain)

    def predict(self, batch: Batch) -> list[np.ndarray]:
        """Masks for the boxes of all objects."""
        encoded = self._encode(batch)
        found = []
        for image, (objects, frame) in enumerate(zip(batch.objects, batch.frames, strict=True)):
            masks = [np.zeros((0, frame.height, frame.width), dtype=bool)]
            for boxes in torch.split(objects.boxes, CHUNK):
                if len(boxes):
                    logits = self._decode(encoded, image, input_boxes=boxes[:, None])
                    masks.append(enlarged_masks(logits[:, 0], frame))
            found.append(np.concatenate(masks))
        return found


def _some(objects: Objects) -> Objects:
    count = len(objects.masks)
    return objects if count <= MAX_OBJECTS else objects.select(torch.randperm(count)[:MAX_OBJECTS])


def _points(mask_HW: Tensor) -> Tensor:
    """Random pixels of a mask, float [10, 2] (x, y)."""
    pixels = mask_HW.flatten().nonzero().squeeze(1)
    drawn = pixels[torch.randint(len(pixels), (POINTS_PER_OBJECT,), device=mask_HW.device)]
    return torch.stack([drawn % mask_HW.shape[1], drawn // mask_HW.shape[1]], dim=1).float()


def build_sam_hq(params: EvaluateParams, classes: int) -> SamHq:
    from transformers import SamHQConfig, SamHQModel

    if params.weights:
        network: Any = from_hub(SamHQModel, params.weights)
        side = network.config.vision_config.image_size
        if side != params.size:
            raise ParameterError(f"evaluate.size is {params.size}, but {params.weights} is for {side}; give that")
        return SamHq(network, POINTS[params.width], frozen=True)
    tiny = params.width == "tiny"
    if not tiny and params.encoder not in ENCODERS:
        raise ParameterError(f"evaluate.encoder is {params.encoder!r}; for sam_hq choose one of {', '.join(ENCODERS)}")
    vision = _vision(params)
    patch = vision.get("patch_size", 16)
    if params.size % patch:
        raise ParameterError(f"evaluate.size is {params.size}; for sam_hq give a multiple of {patch}")
    prompt = {"image_size": params.size, "patch_size": patch, "hidden_size": vision.get("output_channels", 256)}
    decoder = {**(TINY_DECODER if tiny else {}), "vit_dim": vision["hidden_size"]}
    config = SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    return SamHq(SamHQModel(config), POINTS[params.width], frozen=False)


def _vision(params: EvaluateParams) -> dict[str, Any]:
    tiny = params.width == "tiny"
    width, depth, heads, blocks = (48, 2, 2, (0, 1)) if tiny else ENCODERS[params.encoder]
    return {
        **(TINY_ENCODER if tiny else {}),
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "global_attn_indexes": list(blocks),
        "image_size": params.size,
        # transformers' own range, 1e-10, is for weights that are loaded.
        "initializer_range": 0.02,
    }


SAM_HQ = Entry(build=build_sam_hq, tasks=frozenset({"interactive"}))
