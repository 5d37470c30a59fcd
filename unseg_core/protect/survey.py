"""What there is to do: how many images, which files are images, and which copies would overwrite others."""

from __future__ import annotations

from dataclasses import dataclass

from unseg_core import storage
from unseg_core.data.layouts import Layout
from unseg_core.protect.manifest import Settings
from unseg_core.protect.path_set import PathSet
from unseg_core.protect.writer import output_name


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Of a data set."""

    images: PathSet
    """Paths of all samples' images."""
    clashes: frozenset[str]
    """Images whose copies cannot have a name of their own: they fail."""

    @property
    def count(self) -> int:
        return len(self.images)


def survey(layout: Layout, settings: Settings) -> Survey:
    """One pass over the data set's list of samples; two where names change with the format."""
    images = PathSet(sample.image for sample in layout.samples())
    if settings.image_format == "auto" and not images.repeated:
        return Survey(images=images, clashes=frozenset())
    files = PathSet(storage.list_files(layout.root))
    outputs = PathSet(output_name(sample.image, settings.image_format) for sample in layout.samples())
    return Survey(images=images, clashes=frozenset(_clashes(layout, settings, images, files, outputs)))


def _clashes(layout: Layout, settings: Settings, images: PathSet, files: PathSet, outputs: PathSet) -> list[str]:
    found = []
    for sample in layout.samples():
        output = output_name(sample.image, settings.image_format)
        is_taken = output != sample.image and (output in files or outputs.is_repeated(output))
        if is_taken or images.is_repeated(sample.image):
            found.append(sample.image)
    return found
