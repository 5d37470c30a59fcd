"""Gratings: stripes on the objects, and others around them. No network.

Found by measurement (docs/experiments.md, 5 to 10, 17 and 19): of all fixed patterns at 8 levels, regular stripes of
opposite colours are what fresh networks learn instead of the objects, magenta and green first, which photographs have
least of; random tiles and plain colours are not. As cycles are per side, they are there at whatever resolution a model
is trained, and blur, noise, JPEG and resizing leave them. In data sets with small objects all stripes are finer (23).
Colourless stripes are learnt only where they are fine, at 40 cycles, and where the model sees enough pixels for them
(192).

`grating` has the colours alone. `dual-grating` has both: coarse stripes in blue, and fine ones in red and green, which
carry nine tenths of the brightness and remain for a model that is trained in grey.

All objects have the same stripes: a model then finds objects by them, of whatever class, and finds none without.
Stripes by class are found later, the later the more there are. But where classes cover the whole image, nothing around
them could look different, and the same stripes everywhere hide nothing: there `class-grating` has eleven kinds by
class. What tells two classes of one kind apart is the image, and that is learnt; so the classes that cover most have
kinds of their own, and further ones share with those of them that cover least (docs/experiments.md, 16 and 18). Without
colour there are eight kinds: four directions, and in each two that are not equally fine.
Mirroring changes no kind. Those of `grating` begin at the same place in every image, which models find sooner where
images are few; where classes cover the image that makes it worse, and there they begin anywhere (19). That place is the
edge: so JPEG's blocks, which begin there too, keep most of them (25).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unseg_core.data.sample import Target
from unseg_core.protect.methods.class_map import class_map, stream
from unseg_core.protect.methods.method import Method
from unseg_core.stripes import CYCLES, FINE, MAGENTA, RED, WHITE, YELLOW

BLUE_CYCLES = 12
"""Per longer side of the image, of what `dual-grating` has in blue."""
SHORTEST = 4
"""Pixels of a cycle: small images have fewer."""
AROUND, COARSER, FINER = (32, 9), (48, 6), (72, SHORTEST)
"""Cycles where brightness says the class, and pixels of the shortest: in small images they differ as well."""
PARTS = 1024
"""Of a cycle. Phases and cycles are whole numbers of them, so the bytes are the same on every machine."""
SLANTED = 724
"""Parts of a cycle along a side, for a whole one along the diagonal: 1024 by the root of 2."""
RED_GREEN, BLUE_ALONE = (1, 1, 0), (0, 0, 1)
"""Without the other channels."""


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """One wave."""

    direction: str
    """columns, rows, diagonals or squares."""
    hue: tuple[int, int, int]
    cycles: int = CYCLES
    shortest: int = SHORTEST
    """Pixels of a cycle."""


Kind = tuple[Stripes, ...]
"""Waves that share the channels out between them."""


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """What is put where."""

    targets: tuple[Kind, ...]
    """By class, in the order of GratingNoise.class_order: there, back and so on."""
    no_target: Kind
    same_place: bool = False
    """Stripes begin at the edge in every image; the mean of many shows them."""
    in_grey: Kinds | None = None
    """For files with one channel, which get the green channel's noise, where these are not learnt without colour."""

    def of(self, category: int, class_order: Sequence[int] = ()) -> Kind:
        """The kind that a class has in every image; 0 is what is no target."""
        if not category:
            return self.no_target
        place = class_order.index(category) if category in class_order else len(class_order) + category - 1
        turn, step = divmod(place, len(self.targets))
        return self.targets[-1 - step if turn % 2 else step]

    def with_cycles(self, cycles: int) -> Kinds:
        """The same with so many cycles, but in files with one channel."""
        targets = tuple(_with_cycles(kind, cycles) for kind in self.targets)
        return replace(self, targets=targets, no_target=_with_cycles(self.no_target, cycles))


def _with_cycles(kind: Kind, cycles: int) -> Kind:
    return tuple(replace(stripes, cycles=cycles) for stripes in kind)


def _dual(coarse: str, fine: str) -> Kind:
    return (
        Stripes(direction=coarse, hue=BLUE_ALONE, cycles=BLUE_CYCLES),
        Stripes(direction=fine, hue=RED_GREEN, cycles=FINE),
    )


def _colours(direction: str, hue: tuple[int, int, int]) -> Kind:
    return (Stripes(direction=direction, hue=hue),)


def _brightness(direction: str, fineness: tuple[int, int]) -> Kind:
    cycles, shortest = fineness
    return (Stripes(direction=direction, hue=WHITE, cycles=cycles, shortest=shortest),)


DUAL = Kinds(targets=(_dual("columns", "columns"),), no_target=_dual("diagonals", "diagonals"))
COLOUR = Kinds(
    targets=(_colours("columns", MAGENTA),), no_target=_colours("diagonals", YELLOW), same_place=True, in_grey=DUAL
)
GREY_BY_CLASS = Kinds(
    targets=(
        _brightness("columns", COARSER),
        _brightness("rows", FINER),
        _brightness("diagonals", COARSER),
        _brightness("squares", FINER),
        _brightness("columns", FINER),
        _brightness("rows", COARSER),
        _brightness("diagonals", FINER),
        _brightness("squares", COARSER),
    ),
    no_target=_brightness("rows", AROUND),
)
BY_CLASS = Kinds(
    targets=tuple(
        _colours(direction, hue)
        for direction, hue in (
            ("columns", MAGENTA),
            ("rows", RED),
            ("diagonals", MAGENTA),
            ("rows", YELLOW),
            ("columns", RED),
            ("rows", MAGENTA),
            ("columns", YELLOW),
            ("diagonals", RED),
            ("squares", MAGENTA),
            ("squares", RED),
            ("squares", YELLOW),
        )
    ),
    no_target=_colours("diagonals", YELLOW),
    in_grey=GREY_BY_CLASS,
)


@dataclass(frozen=True, kw_only=True)
class GratingNoise(Method):
    """A method: stripes that say where objects are."""

    seed: int = 0
    """Where stripes begin, unless they do at the edge."""
    name: str = "grating"
    kinds: Kinds = COLOUR
    class_order: tuple[int, ...] = ()
    """Classes that get their kinds first; the others follow by number."""

    def in_grey(self) -> Method:
        return replace(self, kinds=self.kinds.in_grey or self.kinds)

    def noise(self, image_HWC: np.ndarray, target: Target, image_id: str) -> np.ndarray:
        classes = class_map(target)
        kinds = [self.kinds.of(category, self.class_order) for category in classes.categories]
        return striped(kinds, classes.index, None if self.kinds.same_place else (self.seed, image_id))


def striped(kinds: Sequence[Kind], index_HW: np.ndarray, begin: tuple[int, str] | None) -> np.ndarray:
    """float32 3xHxW of -1 and 1: each pixel has the stripes of its index.

    Args:
        begin: a seed and an image's id, which say where; None: at the edge.
    """
    height, width = index_HW.shape
    noise = np.empty((3, height, width), dtype=np.float32)
    different = list(dict.fromkeys(kinds))
    kind_HW = np.array([different.index(one) for one in kinds], dtype=np.uint16)[index_HW]
    for number, kind in enumerate(different):
        own = kind_HW == number
        for stripes in kind:
            random = begin and stream("grating", begin[0], stripes.direction, str(stripes.hue), begin[1])
            wave_HW = _wave(stripes, height, width, random)
            for channel, sign in zip(noise, stripes.hue, strict=True):
                if sign:
                    np.copyto(channel, wave_HW * np.float32(sign), where=own)
    return noise


def _wave(stripes: Stripes, height: int, width: int, random: np.random.Generator | None) -> np.ndarray:
    """float32 of -1 and 1 that broadcasts to HxW."""
    side = max(height, width)
    down, across = np.arange(height)[:, None], np.arange(width)[None, :]
    first, second = random.integers(PARTS, size=2).tolist() if random else (0, 0)
    falls = bool(random.integers(2)) if random else True  # mirrored, one diagonal is the other
    cycles = max(1, min(stripes.cycles, side // stripes.shortest))
    if stripes.direction == "rows":
        return square_wave(down, PARTS * cycles, side, first)
    if stripes.direction == "columns":
        return square_wave(across, PARTS * cycles, side, first)
    slanted = SLANTED * cycles
    if stripes.direction == "diagonals":
        return square_wave(down + (across if falls else width - 1 - across), slanted, side, first)
    squares: np.ndarray = square_wave(down, slanted, side, first) * square_wave(across, slanted, side, second)
    return squares


def square_wave(position: np.ndarray, parts: int, side: int, phase: int) -> np.ndarray:
    """float32 of -1 and 1 at these pixels: so many 1/1024 of a cycle on `side` pixels, after `phase` of them."""
    halves = 2 * (position * parts + phase * side) // (side * PARTS)
    wave: np.ndarray = np.where(halves % 2 == 0, np.float32(1), np.float32(-1))
    return wave
