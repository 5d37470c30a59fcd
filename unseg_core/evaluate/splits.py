"""The two parts of an evaluation: training images from the version under test, test images always from the original."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from unseg_core.data.layouts import Layout
from unseg_core.data.sample import Sample
from unseg_core.errors import DataError
from unseg_core.evaluate.copies import check_copy
from unseg_core.evaluate.dataset import open_labelled, part_of
from unseg_core.evaluate.scoring import SEMANTIC
from unseg_core.evaluate.segmented import open_samples
from unseg_core.evaluate.training import Split
from unseg_core.params import EvaluateParams

Placed = tuple[Layout, Sample]
"""A sample and the data set that its image is read from."""


def open_splits(
    original: Layout,
    copy: Layout | None,
    recipe: EvaluateParams,
    *,
    test_share: float,
    protected_share: float = 1.0,
    tested: Layout | None = None,
) -> tuple[Split, Split]:
    """Training and test images.

    Args:
        tested: another split of the original, all of which is tested on; `test_share` is 0 then.

    Raises:
        DataError: a part is empty, a file is damaged, or the copy is not one of the original.
    """
    train = open_training(original, copy, recipe, test_share=test_share, protected_share=protected_share)
    return train, open_test(original, recipe, test_share=test_share, tested=tested)


def open_training(
    original: Layout, copy: Layout | None, recipe: EvaluateParams, *, test_share: float, protected_share: float = 1.0
) -> Split:
    """Training images.

    Args:
        copy: the protected copy to train on; None trains on the original.
        protected_share: of the training images, taken from the copy.
    """
    return open_placed(training_samples(original, copy, test_share, protected_share), recipe)


def open_test(original: Layout, recipe: EvaluateParams, *, test_share: float, tested: Layout | None = None) -> Split:
    """Clean images that no training sees.

    Raises:
        DataError: there is none, one is trained on too, or a file is damaged.
    """
    if tested is None:
        return open_placed([(original, one) for one in part_of(original, test=True, test_share=test_share)], recipe)
    trained = {sample.image for sample in original.samples()}
    both = [sample.image for sample in tested.samples() if sample.image in trained]
    if both:
        raise DataError(
            f"{len(both)} images of {original.root}, such as {both[0]}, are in the split to train on and in the one to "
            "test on; choose splits without common images"
        )
    return open_placed([(tested, one) for one in part_of(tested, test=False, test_share=0)], recipe)


def open_placed(placed: Sequence[Placed], recipe: EvaluateParams) -> Split:
    """Samples as the recipe's task takes them.

    Raises:
        DataError: a file is damaged.
    """
    if recipe.task in SEMANTIC:
        return open_labelled(placed, recipe.size, memory_gib=recipe.memory_gib, workers=recipe.workers)
    return open_samples(placed, recipe.size, workers=recipe.workers)


def training_samples(
    original: Layout, copy: Layout | None, test_share: float, protected_share: float
) -> Sequence[Placed]:
    """In the order of the original. Chosen images that the copy does not hold (failed or skipped ones) are left out."""
    clean = part_of(original, test=False, test_share=test_share)
    if copy is None:
        return [(original, sample) for sample in clean]
    check_copy(original, copy, [sample.image for sample in clean])
    held = {sample.id: sample for sample in part_of(copy, test=False, test_share=test_share)}
    chosen = protected_ids([sample.id for sample in clean], protected_share)
    mixed = [(copy, held.get(one.id)) if one.id in chosen else (original, one) for one in clean]
    placed = [(layout, sample) for layout, sample in mixed if sample is not None]
    if not placed:
        raise DataError(f"{copy.root} has no training image; change datasets.*.test_share")
    return placed


def protected_ids(ids: Sequence[str], share: float) -> frozenset[str]:
    """The share of ids with the smallest sha256, so that the ids of a smaller share are among those of a larger one."""
    ranked = sorted(ids, key=lambda one: hashlib.sha256(f"mixed {one}".encode()).digest())
    return frozenset(ranked[: round(share * len(ranked))])
