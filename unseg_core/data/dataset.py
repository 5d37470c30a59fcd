"""A data set as params.yaml names it."""

from __future__ import annotations

from dataclasses import replace

from unseg_core.data.layouts import Layout, open_layout
from unseg_core.data.sample import resolve_targets
from unseg_core.params import DatasetParams


def open_dataset(params: DatasetParams, root: str) -> tuple[Layout, DatasetParams]:
    """Open it below `root`; returns the parameters with its classes in them, and its targets as names.

    Raises:
        DataError: it is not in its layout.
        ParameterError: an unknown split or target, or classes that are not the layout's.
    """
    layout = open_layout(
        params.layout, root, classes=params.classes, split=params.split, annotations=params.annotations
    )
    targets = resolve_targets(params.targets, layout.classes, layout.class_ids)
    return layout, replace(params, classes=layout.classes, targets=targets)


def open_tested(params: DatasetParams, root: str) -> Layout | None:
    """The split that is tested on; None: a share of the images is.

    Raises:
        DataError: it is not in its layout.
        ParameterError: an unknown split.
    """
    if not params.test_split:
        return None
    # Its annotations are in the usual place: `params.annotations` are those of the split that is trained on.
    return open_layout(params.layout, root, classes=params.classes, split=params.test_split)
