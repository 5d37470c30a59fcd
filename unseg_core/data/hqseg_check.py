"""What belongs to HQSeg-44K: which files of an archive are wanted, and whether a folder has all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from unseg_core import storage
from unseg_core.data.layouts.hqseg44k import IMAGE_EXTENSIONS, MASK_EXTENSION, SUBSETS, Subset, files_of
from unseg_core.errors import DataError

EXTENSIONS = (*IMAGE_EXTENSIONS, MASK_EXTENSION)
NAMED = 3
"""Files that a message names."""


def place_in(part: str, subsets: Sequence[Subset] = SUBSETS) -> Callable[[str], str | None]:
    """Where the members of an archive go, as `unseg_core.data.archives.unpack` asks for it.

    The folders of the subsets may lie below others in the archive, or, if it is named after a part, without that part's
    own. What is not an image or mask of a subset is left out: other test sets, and what operating systems add.
    """
    folders = {folder for subset in subsets for folder in (subset.images, subset.masks)}

    def place(path: str) -> str | None:
        pure = PurePosixPath(path)
        parents = pure.parent.parts
        if pure.suffix.lower() not in EXTENSIONS or any(name.startswith((".", "__MACOSX")) for name in pure.parts):
            return None
        candidates = ["/".join(parents[start:]) for start in range(len(parents))]
        candidates.append("/".join((part, *parents)))
        return next((f"{folder}/{pure.name}" for folder in candidates if folder in folders), None)

    return place


def check_hqseg(root: Path, subsets: Sequence[Subset] = SUBSETS) -> dict[str, int]:
    """Compare a folder with what it should hold; returns the number of pairs by folder of the images.

    Raises:
        DataError: a subset is missing, has another number of images than published, or images without a mask.
    """
    counts, problems = {}, []
    for subset in subsets:
        images, masks = (_listed(root, subset.images, IMAGE_EXTENSIONS), _listed(root, subset.masks, (MASK_EXTENSION,)))
        counts[subset.images] = len(images)
        problems += _problems(subset, images, masks)
    if problems:
        raise DataError(
            f"{root} is not all of HQSeg-44K: {'; '.join(problems)}; "
            "give a location with the complete archives (sources.*.path or archives)"
        )
    return counts


def _listed(root: Path, folder: str, extensions: Sequence[str]) -> dict[str, str]:
    return files_of(str(root), folder, extensions) if (root / folder).is_dir() else {}


def _problems(subset: Subset, images: dict[str, str], masks: dict[str, str]) -> list[str]:
    if not images:
        return [f"{subset.images} is missing ({subset.count} images)"]
    found = []
    if len(images) != subset.count:
        found.append(f"{subset.images} has {len(images)} images instead of {subset.count}")
    bare = [image for stem, image in images.items() if stem not in masks]
    if bare:
        more = ", ..." if len(bare) > NAMED else ""
        found.append(f"{len(bare)} without a mask in {subset.masks} ({', '.join(bare[:NAMED])}{more})")
    return found


def copy_unpacked(root: Path, part: str, target: Path, subsets: Sequence[Subset] = SUBSETS) -> int:
    """Copy the images and masks of one part from a local folder where it lies unpacked; returns how many files."""
    count = 0
    for subset in (one for one in subsets if one.part == part):
        for folder, extensions in ((subset.images, IMAGE_EXTENSIONS), (subset.masks, (MASK_EXTENSION,))):
            for path in _listed(root, folder, extensions).values():
                storage.copy_file(str(root / path), str(target / path))
                count += 1
    return count
