"""Reading params.yaml: the one place where configuration enters the stage programs."""

from pathlib import Path

import yaml

from unseg_core.errors import ParameterError
from unseg_core.params import Params, parse_params

PARAMS_FILE = Path("params.yaml")


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check a parameter file.

    Raises:
        ParameterError: the file is missing, is not YAML, or holds an unknown key or value.
    """
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParameterError(
            f"{path} does not exist; run `make profile PROFILE=starter` in the project folder"
        ) from None
    except yaml.YAMLError as error:
        raise ParameterError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    return parse_params(mapping, origin=str(path))
