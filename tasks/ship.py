"""Put a trained generator into the package as the one that ships: `python -m tasks.ship FOLDER`.

FOLDER is what `unseg train` has written. Writes small.safetensors (float16), small.md and the sha256 that is checked.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tasks.entry import run
from unseg_core.errors import WeightsError
from unseg_core.model import shipped
from unseg_core.model.weights import half_sized, read_metadata
from unseg_core.storage import write_file
from unseg_core.train.files import GENERATOR_FILE, MODEL_CARD

SIZE = "small"
PINNED = re.compile(r'SMALL_SHA256 = "[0-9a-f]*"')


def main(arguments: list[str]) -> None:
    (folder,) = arguments
    place = Path(shipped.__file__).parent
    source = Path(folder) / GENERATOR_FILE
    if read_metadata(source)["size"] != SIZE:
        raise WeightsError(f"{source} is of size {read_metadata(source)['size']}; only {SIZE} ships")
    data = half_sized(source)
    sha256 = hashlib.sha256(data).hexdigest()
    write_file(str(place / f"{SIZE}.safetensors"), data)
    card = (Path(folder) / MODEL_CARD).read_text(encoding="utf-8")
    shipped_as = f"Ships as `{SIZE}.safetensors` (float16, {len(data):,} bytes): sha256 `{sha256}`\n\n"
    write_file(str(place / f"{SIZE}.md"), (shipped_as + card).encode())
    pinned = PINNED.sub(f'SMALL_SHA256 = "{sha256}"', (place / "__init__.py").read_text(encoding="utf-8"))
    write_file(str(place / "__init__.py"), pinned.encode())
    print(f"{place / SIZE}.safetensors: {len(data):,} bytes, sha256 {sha256}")


if __name__ == "__main__":
    run(main)
