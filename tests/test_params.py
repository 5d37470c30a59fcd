"""params.yaml: every profile is valid, and every mistake names its key and the remedy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT

from tasks.parameters import load_params
from unseg_core.errors import ParameterError
from unseg_core.params import parse_params

PROFILES = sorted((PROJECT / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_profile_is_valid_and_named_after_its_file(path: Path) -> None:
    assert load_params(path).profile == path.stem


def test_active_profile_is_the_starter() -> None:
    assert (PROJECT / "params.yaml").read_bytes() == (PROJECT / "profiles" / "starter.yaml").read_bytes()


ABLATIONS = {
    "weights.generator": "published",
    "weights.surrogate": "resnet50",
    "train.label_modification": "false",
    "train.epsilon": "4",
    "train.epsilon_bg": "0.5",
    "train.surrogate_every": "2",
    "train.train_sam": "false",
    "train.surrogate_prompt": "whole",
    "train.degradations": "[blur,noise]",
}


def test_ablations_are_those_of_the_documentation() -> None:
    table = (PROJECT / "docs" / "training.md").read_text().split("## Ablations by parameter")[1].split("\n## ")[0]
    named = {name for name in re.findall(r"`((?:train|weights)\.\w+)", table) if "=" not in name}
    assert named == set(ABLATIONS)


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_every_ablation_can_be_set_in_every_profile(path: Path, tmp_path: Path) -> None:
    """`dvc exp run -S NAME=VALUE` refuses a name that the file does not hold; this is what it runs."""
    from dvc.utils.hydra import apply_overrides

    params = shutil.copy(path, tmp_path / "params.yaml")
    for name, value in ABLATIONS.items():
        apply_overrides(params, [f"{name}={value}"])
    changed = yaml.safe_load(params.read_text())
    for name, value in ABLATIONS.items():
        section, key = name.split(".")
        assert changed[section][key] == yaml.safe_load(value)


def starter() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PROJECT / "profiles" / "starter.yaml").read_text())
    return loaded


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("train", "epoch", 3, "train.epoch is not a parameter; did you mean 'epochs'?"),
        ("train", "epochs", 0, "train.epochs is 0; give a value from 1"),
        ("train", "epochs", "many", "train.epochs is 'many'; give a value of type int"),
        ("train", "epochs", True, "train.epochs is True; give a value of type int"),
        ("train", "sources", ["nowhere"], "train.sources: 'nowhere' is not a source"),
        ("protect", "image_format", "gif", "protect.image_format is 'gif'; choose one of auto, png, jpeg"),
        ("evaluate", "seeds", 3, "evaluate.seeds is 3; give a list"),
        ("evaluate", "seeds", [1, 1], "evaluate.seeds needs at least one seed"),
        ("datasets", "scenes", {"epsilon": -1}, "datasets.scenes.epsilon is -1.0"),
        ("datasets", "../up", {}, "'../up' is not a usable name"),
        ("runs", "bad", {"dataset": "scenes", "train_on": "data"}, "runs.bad.train_on is 'data'"),
        ("runs", "bad", {"dataset": "scenes"}, "runs.bad.train_on is missing"),
        ("sources", "scenes", {"role": "datasets", "kind": "files"}, "sources.scenes.path is empty"),
    ],
)
def test_mistake_names_key_and_remedy(section: str, key: str, value: object, message: str) -> None:
    mapping = starter()
    mapping[section][key] = value
    with pytest.raises(ParameterError) as caught:
        parse_params(mapping, origin="params.yaml")
    assert str(caught.value).startswith("params.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="does not exist"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(ParameterError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("- 1")
    with pytest.raises(ParameterError, match="must be a mapping"):
        load_params(tmp_path / "params.yaml")
