"""Stage `register`: the trained generator becomes a version of a registered MLflow model, under an alias."""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import unseg_core
from tasks.entry import run
from tasks.parameters import PARAMS_FILE, load_params
from tasks.results import write_json
from tasks.tracking_store import TrackingStore, open_store
from unseg_core.errors import DataError, WeightsError
from unseg_core.model.registry_uri import SHA256_TAG
from unseg_core.params import TrackingParams
from unseg_core.storage import read_file, sha256_of
from unseg_core.train.files import MODEL_CARD, PANEL_FILE

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

GENERATOR = Path("data/generator/generator.safetensors")
CARD = Path("data/generator/card.json")
REGISTERED = Path("metrics/registered.json")
LOGGED_NAME = "generator"
MODEL_CODE = Path(__file__).with_name("generator_model.py")
# What unseg_core imports on the way from a file to noise; given, so that MLflow does not search for it.
REQUIREMENTS = (
    "fsspec",
    "mlflow",
    "numpy",
    "pillow",
    "pycocotools",
    "safetensors",
    "segment-anything",
    "torch",
    "torchvision",
)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """Content of metrics/registered.json. The version's number is the server's affair and would differ between two."""

    model: str
    alias: str
    uri: str
    generator_sha256: str


def register_stage(root: Path) -> Registered:
    """Register the generator in `root` and write metrics/registered.json.

    Raises:
        UnsegError: the generator or its card is missing or damaged, or MLflow refuses.
    """
    tracking = load_params(root / PARAMS_FILE).tracking
    sha256 = _check_generator(root)
    with open_store(root, tracking.experiment) as store:
        register_generator(store, root, tracking, sha256)
    uri = f"models:/{tracking.model}@{tracking.alias}"
    registered = Registered(model=tracking.model, alias=tracking.alias, uri=uri, generator_sha256=sha256)
    write_json(str(root / REGISTERED), asdict(registered))
    return registered


def _check_generator(root: Path) -> str:
    """sha256 of the generator, after a look at file and card."""
    if not (root / GENERATOR).is_file():
        raise WeightsError(f"{root / GENERATOR} does not exist; run `dvc repro train`, or `dvc pull train`")
    try:
        card = json.loads(read_file(str(root / CARD)))
        expected = card["sha256"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{root / CARD} is not the card of a generator; run `dvc repro --force train`") from None
    sha256 = sha256_of(str(root / GENERATOR))
    if sha256 != expected:
        raise WeightsError(
            f"{root / GENERATOR} is not the file that its card describes; run `dvc checkout --force train`"
        )
    return sha256


def register_generator(store: TrackingStore, root: Path, tracking: TrackingParams, sha256: str) -> str:
    """Point the alias at the version with this generator, which is made unless there is one; return its number.

    Raises:
        WeightsError: there is none yet, and the file in `root` is missing or another one.
    """
    found = find_version(store, tracking.model, sha256)
    number = found.version if found else _create_version(store, root, tracking.model, sha256).version
    if not found or tracking.alias not in _aliases(store, tracking.model, number):
        store.client.set_registered_model_alias(tracking.model, tracking.alias, number)
    return str(number)


def link_training(store: TrackingStore, sha256: str) -> None:
    """Name the uploaded generator as an output of its training run, where it was registered before the run was made."""
    from mlflow.entities import LoggedModelOutput

    run_id, models = _train_run(store, sha256), _logged_models(store, sha256)
    if run_id is None or not models:
        return
    outputs = store.client.get_run(run_id).outputs
    if outputs is None or not outputs.model_outputs:
        store.client.log_outputs(run_id, [LoggedModelOutput(models[0].model_id, 0)])


def find_version(store: TrackingStore, model: str, sha256: str) -> ModelVersion | None:
    """The newest version made from this file."""
    found = store.client.search_model_versions(f"name = '{model}' and tags.{SHA256_TAG} = '{sha256}'")
    return max(found, key=lambda one: int(one.version), default=None)


def _aliases(store: TrackingStore, model: str, number: str) -> list[str]:
    return list(store.client.get_model_version(model, number).aliases)


def _create_version(store: TrackingStore, root: Path, model: str, sha256: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    if _check_generator(root) != sha256:
        raise WeightsError(f"{root / GENERATOR} is not the generator {sha256[:12]}; run `dvc checkout --force train`")
    logged = _log_model(store, root, sha256)
    try:
        store.client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"models:/{logged.model_id}"
    return store.client.create_model_version(
        model, source, logged.source_run_id, tags={SHA256_TAG: sha256}, model_id=logged.model_id
    )


def _logged_models(store: TrackingStore, sha256: str) -> list[LoggedModel]:
    """Uploads of this generator, finished or cut off."""
    return list(store.client.search_logged_models([store.experiment_id], f"tags.{SHA256_TAG} = '{sha256}'"))


def _log_model(store: TrackingStore, root: Path, sha256: str) -> LoggedModel:
    """Upload the generator as a pyfunc model, in place of one whose upload was cut off."""
    client, run_id = store.client, _train_run(store, sha256)
    for leftover in _logged_models(store, sha256):
        if str(leftover.status) != "READY":
            client.delete_logged_model(leftover.model_id)
    logged = client.create_logged_model(store.experiment_id, LOGGED_NAME, run_id, tags={SHA256_TAG: sha256})
    with tempfile.TemporaryDirectory() as folder:
        _save_model(root, Path(folder), logged)
        client.log_model_artifacts(logged.model_id, folder)
    return client.finalize_logged_model(logged.model_id, "READY")


def _train_run(store: TrackingStore, sha256: str) -> str | None:
    """The tracked training that this generator came from; none yet when `dvc repro` registers it."""
    filter_string = f"tags.stage = 'train' and tags.{SHA256_TAG} = '{sha256}' and attributes.status = 'FINISHED'"
    runs = store.client.search_runs([store.experiment_id], filter_string, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _save_model(root: Path, folder: Path, logged: LoggedModel) -> None:
    import mlflow

    model = mlflow.models.Model(model_id=logged.model_id, run_id=logged.source_run_id)
    with warnings.catch_warnings(record=True):  # it asks for type hints and an example; the signature says it all
        mlflow.pyfunc.save_model(
            folder,
            mlflow_model=model,
            python_model=str(MODEL_CODE),
            artifacts={"generator": str(root / GENERATOR), "card": str(root / CARD), **_about(root)},
            code_paths=[str(Path(unseg_core.__file__).parent)],
            signature=_signature(),
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS],
        )


def _about(root: Path) -> dict[str, str]:
    """The model card and the panel, where the training has written them."""
    found = {"model_card": GENERATOR.with_name(MODEL_CARD), "panel": GENERATOR.with_name(PANEL_FILE)}
    return {name: str(root / path) for name, path in found.items() if (root / path).is_file()}


def _signature() -> ModelSignature:
    """What goes in and out of `GeneratorModel.predict`."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    image = TensorSpec(np.dtype(np.uint8), (-1, -1, 3), "image")
    region = TensorSpec(np.dtype(np.bool_), (-1, -1), "region")
    noise = TensorSpec(np.dtype(np.float32), (3, -1, -1))
    params = [ParamSpec("prompt", DataType.string, "mask"), ParamSpec("seed", DataType.long, 0)]
    return ModelSignature(inputs=Schema([image, region]), outputs=Schema([noise]), params=ParamSchema(params))


def main(arguments: list[str]) -> None:
    """Entry point: `python -m tasks.register` in the project folder."""
    registered = register_stage(Path())
    print(f"registered {registered.uri} (generator {registered.generator_sha256[:12]})")


if __name__ == "__main__":
    run(main)
