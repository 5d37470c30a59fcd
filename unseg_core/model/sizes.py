"""Sizes of the two networks. Adding one is one entry in SIZES."""

from __future__ import annotations

from dataclasses import dataclass

from unseg_core.errors import ParameterError


@dataclass(frozen=True, kw_only=True)
class Size:
    """Hyper-parameters of one size; the surrogate works at half of `input_size`."""

    name: str
    input_size: int
    """Side of the generator's square input, pixels."""
    patch_size: int
    embed_dim: int
    """Width of the ViT."""
    depth: int
    num_heads: int
    global_blocks: tuple[int, ...]
    """Blocks with global attention; the output of the first one is the early feature."""
    window_size: int
    prompt_dim: int
    """Width of the prompt encoder and the mask decoder."""
    decoder_mlp_dim: int
    decoder_heads: int
    mask_channels: int = 16
    """Hidden channels of the mask prompt's convolutions."""

    @property
    def surrogate_input_size(self) -> int:
        return self.input_size // 2

    @property
    def noise_size(self) -> int:
        """Side of the generator's noise and of its mask prompt: four times the embedding's."""
        return 4 * self.input_size // self.patch_size


def _sam(name: str, embed_dim: int, depth: int, num_heads: int, global_blocks: tuple[int, ...]) -> Size:
    """A published SAM size (Kirillov et al., 2023; segment_anything/build_sam.py)."""
    return Size(
        name=name,
        input_size=1024,
        patch_size=16,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        global_blocks=global_blocks,
        window_size=14,
        prompt_dim=256,
        decoder_mlp_dim=2048,
        decoder_heads=8,
    )


TINY = Size(
    name="tiny",
    input_size=96,
    patch_size=8,
    embed_dim=96,
    depth=4,
    num_heads=3,
    global_blocks=(1, 3),
    window_size=6,
    prompt_dim=64,
    decoder_mlp_dim=256,
    decoder_heads=4,
)

# For CPUs and for the generator that ships: 9 MB as float16, 83 ms of one core an image (docs/performance.md).
SMALL = Size(
    name="small",
    input_size=192,
    patch_size=8,
    embed_dim=192,
    depth=6,
    num_heads=3,
    global_blocks=(2, 5),
    window_size=8,
    prompt_dim=128,
    decoder_mlp_dim=512,
    decoder_heads=4,
)

SIZES = {
    size.name: size
    for size in (
        _sam("vit_b", 768, 12, 12, (2, 5, 8, 11)),
        _sam("vit_l", 1024, 24, 16, (5, 11, 17, 23)),
        _sam("vit_h", 1280, 32, 16, (7, 15, 23, 31)),
        SMALL,
        TINY,
    )
}


def size_by_name(name: str) -> Size:
    """Raises ParameterError for an unknown name."""
    if name not in SIZES:
        raise ParameterError(f"weights.size is {name!r}; choose one of {', '.join(SIZES)}")
    return SIZES[name]
