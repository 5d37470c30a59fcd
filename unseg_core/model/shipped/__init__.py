"""The generator that comes with the package: `small.safetensors` (float16) and its model card `small.md`.

`make train-small` trains it again; `python -m tasks.ship` writes both files and the sha256 here.
"""

SMALL_SHA256 = "644698fca6fafd2051fbfe05d1f044355bbf597e5065d1115c1fcb799513c9d3"
