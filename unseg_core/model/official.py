"""Official checkpoints: where they are, and how their entries become ours.

SAM (Kirillov et al., 2023), MAE (He et al., 2022), torchvision's ImageNet ResNet-50, and the generator that the authors
of UnSeg published. All are files of torch.save; nothing in them is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unseg_core.errors import ParameterError, WeightsError
from unseg_core.model.generator import Generator
from unseg_core.model.resnet import ResNetEncoder
from unseg_core.model.surrogate import Surrogate
from unseg_core.model.weights import fill

MAX_BYTES = 4 * 2**30
"""The largest official file, SAM ViT-H, has 2.6 GB."""
LARGEST_GRID = 256
"""Cells of a side; more is no position embedding and would only fill the memory."""
SAM_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


@dataclass(frozen=True, kw_only=True)
class OfficialFile:
    """One published file."""

    url: str
    digest: str
    """As `unseg_core.download` takes it; MAE and torchvision publish only the first digits."""

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


def _sam(name: str, sha256: str) -> OfficialFile:
    return OfficialFile(url=f"https://dl.fbaipublicfiles.com/segment_anything/{name}", digest=f"sha256:{sha256}")


def _mae(name: str, md5: str) -> OfficialFile:
    return OfficialFile(url=f"https://dl.fbaipublicfiles.com/mae/pretrain/{name}", digest=f"md5:{md5}")


def _torchvision(name: str, sha256: str) -> OfficialFile:
    return OfficialFile(url=f"https://download.pytorch.org/models/{name}", digest=f"sha256:{sha256}")


SAM = {
    "vit_b": _sam("sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    "vit_l": _sam("sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    "vit_h": _sam("sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
}
MAE = {
    "vit_b": _mae("mae_pretrain_vit_base.pth", "8cad7c"),
    "vit_l": _mae("mae_pretrain_vit_large.pth", "b8b06e"),
    "vit_h": _mae("mae_pretrain_vit_huge.pth", "9bdbb0"),
}
RESNET50 = _torchvision("resnet50-0676ba61.pth", "0676ba61")
RESNET50_V2 = _torchvision("resnet50-11ad3fa6.pth", "11ad3fa6")
DIGESTS = {file.url: file.digest for file in (*SAM.values(), *MAE.values(), RESNET50, RESNET50_V2)}


def official_file(files: Mapping[str, OfficialFile], size: str, parameter: str) -> OfficialFile:
    """The file of a size.

    Raises:
        ParameterError: nobody has published one; `parameter` names the one to set instead.
    """
    if size not in files:
        raise ParameterError(
            f"there are no official weights for size {size!r}, only for {', '.join(files)}; set {parameter}"
        )
    return files[size]


def sam_part_files(size: str) -> dict[str, str]:
    """Names of the three files into which the published code splits a SAM checkpoint, by part."""
    suffixes = ("backbone", "prompt_decoder", "maskdecoder")
    return {part: f"sam_{size}_{suffix}.pth" for part, suffix in zip(SAM_PARTS, suffixes, strict=True)}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch.save file, from below `model` or `state_dict` and without `module.` where it has these.

    Raises:
        WeightsError: the file is missing, is no checkpoint, or holds anything but tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; check the path")
    try:
        content = _load(path)
    except Exception as error:
        # A damaged pickle raises nearly anything.
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is no checkpoint that can be read safely ({reason}); fetch it again") from None
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds no named tensors; give a checkpoint")
    odd = [str(name) for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if odd:
        raise WeightsError(f"{path} holds more than tensors ({', '.join(odd[:5])}); give a checkpoint of the network")
    return _without_prefix(content, "module.")


def _load(path: Path) -> object:
    """Mapped into memory where the format allows it: SAM ViT-H has 2.6 GB."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:
        return torch.load(path, map_location="cpu", weights_only=True)


def _without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Strip `prefix` if all entries carry it."""
    if all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def fill_published(generator: Generator, path: Path) -> None:
    """Fill all of a generator from the published, flat file."""
    fill(generator, read_checkpoint(path), origin=str(path))


def fill_sam(generator: Generator, path: Path) -> None:
    """Fill a generator's SAM parts from a SAM checkpoint; the noise entries keep their random start."""
    _fill_sam(generator, read_checkpoint(path), str(path))


def fill_sam_parts(generator: Generator, paths: Mapping[str, Path]) -> None:
    """As `fill_sam`, from one file per part; their entries may carry the part's name or not."""
    state: dict[str, Tensor] = {}
    for part, path in paths.items():
        own = _without_prefix(read_checkpoint(path), f"{part}.")
        state |= {f"{part}.{name}": tensor for name, tensor in own.items()}
    _fill_sam(generator, state, ", ".join(str(path) for path in paths.values()))


def _fill_sam(generator: Generator, state: Mapping[str, Tensor], origin: str) -> None:
    if any("noise" in name for name in state):
        raise WeightsError(f"{origin} is a whole generator, not a SAM; set weights.generator to published")
    noise = {name: tensor for name, tensor in generator.state_dict().items() if "noise" in name}
    fill(generator, {**noise, **state}, origin=origin)


def fill_mae(surrogate: Surrogate, path: Path) -> None:
    """Fill the surrogate's ViT from an MAE checkpoint.

    The position embedding is resized (bicubic) to the surrogate's grid, relative positions become zero, and the neck
    keeps its random start. ViT-H has patches of 14 pixels: its patch embedding is resized (bilinear) to 16.
    """
    encoder = surrogate.image_encoder
    own = encoder.state_dict()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in own.items() if "rel_pos" in name}
    neck = {name: tensor for name, tensor in own.items() if name.startswith("neck.")}
    state = _from_timm(read_checkpoint(path), own, str(path))
    fill(encoder, {**neck, **zeros, **state}, origin=str(path))


def _from_timm(state: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """timm's entries under our names; the class token and the last norm have no place in a SAM encoder."""
    dropped = ("cls_token", "norm.weight", "norm.bias")
    kept = {name: tensor for name, tensor in state.items() if name not in dropped}
    renamed = {name.replace("mlp.fc1.", "mlp.lin1.").replace("mlp.fc2.", "mlp.lin2."): t for name, t in kept.items()}
    if "pos_embed" in renamed:
        renamed["pos_embed"] = _resize_positions(renamed["pos_embed"], own["pos_embed"], origin)
    if "patch_embed.proj.weight" in renamed:
        renamed["patch_embed.proj.weight"] = _resize_patches(
            renamed["patch_embed.proj.weight"], own["patch_embed.proj.weight"]
        )
    return renamed


def _resize_positions(positions: Tensor, like: Tensor, origin: str) -> Tensor:
    """[1, 1 + n * n, C] with a class token, or [1, n, n, C] without, to the grid of `like` [1, y, x, C]."""
    if positions.dim() == 3:
        side = round(max(positions.shape[1] - 1, 0) ** 0.5)
        if positions.shape[0] != 1 or not 1 <= side <= LARGEST_GRID or positions.shape[1] != side * side + 1:
            shape = tuple(positions.shape)
            raise WeightsError(f"{origin}: pos_embed is {shape}, no class token and square grid; give another file")
        positions = positions[:, 1:].reshape(1, side, side, -1)
    fits = positions.dim() == 4 and positions.shape[-1] == like.shape[-1] and max(positions.shape[:3]) <= LARGEST_GRID
    if not fits or positions.shape == like.shape:
        return positions
    grid = (like.shape[1], like.shape[2])
    planes = F.interpolate(positions.permute(0, 3, 1, 2).float(), size=grid, mode="bicubic", align_corners=False)
    return planes.permute(0, 2, 3, 1)


def _resize_patches(kernel: Tensor, like: Tensor) -> Tensor:
    """[C, 3, p, p] to the patch of `like`; scaled by the areas, so that an even patch gives what it gave."""
    if kernel.dim() != 4 or kernel.shape[:2] != like.shape[:2] or max(kernel.shape[2:]) > LARGEST_GRID:
        return kernel
    if kernel.shape == like.shape:
        return kernel
    resized = F.interpolate(kernel.float(), size=(like.shape[2], like.shape[3]), mode="bilinear", align_corners=False)
    return resized * (kernel.shape[2:].numel() / like.shape[2:].numel())


def fill_resnet(surrogate: Surrogate, path: Path) -> None:
    """Fill the trunk of a surrogate's ResNet-50 from torchvision's file; its classifier is dropped, the neck stays."""
    encoder = surrogate.image_encoder
    if not isinstance(encoder, ResNetEncoder):
        raise WeightsError(f"{path} is for a surrogate with a ResNet-50; set weights.surrogate to resnet50")
    state = {
        name: tensor
        for name, tensor in read_checkpoint(path).items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    fill(encoder.trunk, state, origin=str(path))
