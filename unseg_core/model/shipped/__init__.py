"""The generator that comes with the package: `small.safetensors` (float16) and its model card `small.md`.

`make train-small` trains it again; `python -m tasks.ship` writes both files and the sha256 here.
"""

SMALL_SHA256 = "704f0dc677363ef248bc60dbc022730d01314d579c983b31407ee3412de51426"
