"""The generator that comes with the package: `small.safetensors` (float16) and its model card `small.md`.

`make train-small` trains it again; `python -m tasks.ship` writes both files and the sha256 here.
"""

SMALL_SHA256 = "7ce8e3fd95f84ae86136d870303bf97a16d7b675eaca035467feb9850e96f06b"
