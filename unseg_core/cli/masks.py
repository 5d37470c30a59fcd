"""`unseg masks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from unseg_core.cli.command import FAILED, OK, Json, run, show

if TYPE_CHECKING:
    from unseg_core.protect.proposals import Proposals


def masks(
    source: Annotated[str, typer.Argument(help="Folder of images: images/ in it, or itself.")],
    target: Annotated[str, typer.Argument(help="Folder of the masks: PNG, 0 and 255, of the images' names.")],
    generator: Annotated[
        str, typer.Option(help="With SAM's own parts in it: PATH, URL or models:/NAME@ALIAS; ours or published.")
    ],
    points_per_side: Annotated[int, typer.Option(help="Of the grid; the time goes with its square.")] = 32,
    predicted_iou: Annotated[float, typer.Option(help="Masks that SAM rates lower are dropped.")] = 0.88,
    stability: Annotated[float, typer.Option(help="And those that are less stable.")] = 0.95,
    largest_share: Annotated[float, typer.Option(help="And those that cover more of the image.")] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Json = False,
) -> None:
    """Propose masks for images that have none, for `unseg protect --masks`. Masks that are there already are kept."""

    def work() -> int:
        from unseg_core.device import prepare_device
        from unseg_core.model.automatic_masks import MaskProposer, check_has_sam
        from unseg_core.model.generator_reference import resolve_generator
        from unseg_core.model.weights import load_generator
        from unseg_core.params import RuntimeParams, build, check_range
        from unseg_core.protect.proposals import images_without_masks, propose_masks

        check_range("points_per_side", points_per_side, 1, 256)
        check_range("largest_share", largest_share, 0.0, 1.0)
        images_without_masks(source, target)
        file = resolve_generator(generator)
        check_has_sam(file)
        proposer = MaskProposer(
            load_generator(file).to(prepare_device(build(RuntimeParams, {"device": device}, ""))),
            points_per_side=points_per_side,
            predicted_iou=predicted_iou,
            stability=stability,
            largest_share=largest_share,
        )
        found = propose_masks(source, target, proposer)
        show(as_json, found.summary(), _masks_text(found, target))
        return FAILED if found.failed else OK

    run(work, as_json)


def _masks_text(found: Proposals, target: str) -> str:
    failures = "".join(f"\n  {reason}" for reason in found.failed.values())
    hint = f"; {found.empty} without an object: see --no-target of `unseg protect`" if found.empty else ""
    counts = f"{found.written} masks written, {found.kept} kept, {len(found.failed)} failed{hint}"
    return f"{found.images} images: {counts}\nmasks: {target}{failures}"
