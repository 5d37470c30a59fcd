"""The paper's results beside ours: which of our runs belongs to which row, and what is marked as not run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT

from tasks import tables
from tasks.parameters import load_params
from tasks.published import PUBLISHED
from unseg_core.errors import DataError, ParameterError


def run(root: Path, name: str, method: str, iou: float, **changes: Any) -> None:
    dataset = name.split("-")[0]
    metrics = {
        "run": name, "dataset": dataset, "method": method, "model": "unetplusplus", "encoder": "resnet50",
        "seeds": [{"seed": 0}, {"seed": 1}], "iou_mean": iou, **changes,
    }  # fmt: skip
    path = root / "metrics" / "evaluate" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(PROJECT / "profiles" / "starter.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    tables.main(list(arguments))
    return capsys.readouterr().out


def rows(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = json.loads(printed(capsys, "--json"))
    return found["published"], found["others"]


def test_without_runs_every_row_is_marked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published, others = rows(capsys)
    assert len(published) == len(PUBLISHED) == 24
    assert others == []
    assert all(row["ours_clean"] is None and row["ours_protected"] is None for row in published)
    text = printed(capsys)
    # Twice in every row, and once for each of the two costs.
    assert text.count("not run") == 2 * 24 + 2
    assert "0 of 24 rows were run here" in text.replace("\n", " ")
    assert "None was run." in text


def test_published_numbers_are_those_of_the_paper(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published, _ = rows(capsys)
    found = {(row["dataset"], row["model"], row["setting"], row["score"]): row for row in published}
    ade = found["ade20k", "mask2former resnet50", "unseg", "PQ"]
    assert (ade["paper_clean"], ade["paper_protected"]) == (39.7, 11.7)
    assert found["voc", "deeplabv3", "unseg, mask prompt, ddc-at", "mIoU"]["paper_protected"] == 28.5
    assert found["cityscapes", "mask2former resnet50", "cuda", "mIoU"]["paper_protected"] == 65.8
    assert found["kvasir", "unetplusplus tu-regnetx_080", "unseg", "mIoU"]["paper_clean"] == 72.6


def test_ours_stand_in_the_row_of_their_setting(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(project, "kvasir-clean", "clean", 0.701, task="medical", metric="IoU")
    run(project, "kvasir-unseg", "unseg", 0.0312, task="medical", metric="IoU")
    run(project, "kvasir-blur", "unseg", 0.2, defences=["gaussian:1"])
    run(project, "kvasir-grey", "unseg", 0.3, defences=["grey"])
    run(project, "kvasir-clean-grey", "clean", 0.65, defences=["grey"])
    run(project, "kvasir-mixed", "unseg 50%", 0.6, protected_share=0.5)
    run(project, "kvasir-small", "unseg", 0.01, encoder="resnet18")
    published, others = rows(capsys)
    run_rows = [row for row in published if row["ours_protected"] is not None]
    assert len(run_rows) == 1
    (row,) = run_rows
    assert (row["dataset"], row["model"]) == ("kvasir", "unetplusplus resnet50")
    assert (row["ours_clean"], row["ours_protected"], row["run"], row["seeds"]) == (70.1, 3.1, "kvasir-unseg", 2)
    assert {one["run"]: (one["setting"], one["ours_clean"]) for one in others} == {
        "kvasir-blur": ("unseg, gaussian:1", None),
        "kvasir-grey": ("unseg, grey", 65.0),
        "kvasir-mixed": ("unseg, 50% of the images", 70.1),
        "kvasir-small": ("unseg", None),
    }


def test_the_paper_s_profiles_run_its_rows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but those that need another training, or annotations that the data set does not come with."""
    metric = {"semantic": "IoU", "instance": "AP", "panoptic": "PQ"}
    for profile in ("paper", "paper-baselines"):
        params = load_params(PROJECT / "profiles" / f"{profile}.yaml")
        for name, one in params.runs.items():
            recipe, path = params.recipe(name), Path(one.train_on)
            method = "clean" if path.parts[1] == "datasets" else path.name
            kind = {"task": recipe.task, "metric": metric[recipe.task], f"{metric[recipe.task]}_mean": 0.1}
            what = {"model": recipe.model, "encoder": recipe.encoder, "defences": list(recipe.defences)}
            run(project, name, method, 0.1, dataset=one.dataset, **kind, **what)
        for name in params.protect.datasets:
            copy = project / "metrics" / "protect" / f"{name}-unseg.json"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(json.dumps({"prompt": params.datasets[name].prompt}))
    shutil.copy(PROJECT / "profiles" / "paper.yaml", project / "params.yaml")
    published, _ = rows(capsys)
    missing = [
        (r["dataset"], r["setting"], r["score"]) for r in published if None in (r["ours_clean"], r["ours_protected"])
    ]
    assert missing == [
        ("voc", "unseg, mask prompt, generator from random", "mIoU"),
        ("ade20k", "unseg", "PQ"),
        ("ade20k", "unseg", "AP"),
    ]


def test_prompts_scores_and_starts_tell_rows_apart(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deeplab = {"model": "deeplabv1", "encoder": "whatever"}
    run(project, "voc-clean", "clean", 0.7, **deeplab)
    run(project, "voc-unseg", "unseg", 0.05, **deeplab)
    copy = project / "metrics" / "protect" / "voc-unseg.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(json.dumps({"prompt": "box"}))
    panoptic = {"model": "mask2former", "task": "panoptic", "metric": "PQ"}
    run(project, "coco-clean", "clean", 0.5, **panoptic, PQ_mean=0.5)
    run(project, "coco-unseg", "unseg", 0.1, **panoptic, PQ_mean=0.1)
    published, _ = rows(capsys)
    ours = {(r["dataset"], r["setting"], r["score"]): r["ours_protected"] for r in published if r["run"]}
    assert ours == {
        ("voc", "unseg, box prompt", "mIoU"): 5.0,
        ("coco", "unseg", "PQ"): 10.0,
    }
    copy.write_text(json.dumps({"prompt": "mask"}))
    run(project, "voc-at", "unseg", 0.3, model="deeplabv3", defences=["adversarial:8"])
    published, _ = rows(capsys)
    assert [r["setting"] for r in published if r["run"] == "voc-at"] == ["unseg, mask prompt, adversarial"]
    settings = [r["setting"] for r in published if r["run"] == "voc-unseg"]
    assert settings == ["unseg, mask prompt", "unseg, mask prompt, generator from random"], "the starter's is random"
    params = project / "params.yaml"
    mapping = yaml.safe_load(params.read_text())
    mapping["weights"] = {"size": "vit_b", "generator": "sam"}
    params.write_text(yaml.safe_dump(mapping))
    published, _ = rows(capsys)
    assert [r["setting"] for r in published if r["run"] == "voc-unseg"] == ["unseg, mask prompt"]


def test_markdown_is_a_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(project, "scenes-unseg", "unseg", 0.02)
    text = printed(capsys, "--markdown")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    first = lines[: 24 + 2]
    assert {line.count("|") for line in first} == {9}
    assert set(first[1]) == set("|-: ")
    assert "| scenes" in text
    assert text.startswith("## The paper and ours")


def test_mistakes_are_named(project: Path) -> None:
    with pytest.raises(ParameterError, match="--table: unknown"):
        tables.main(["--table"])
    run(project, "kvasir-clean", "clean", 0.7)
    path = project / "metrics" / "evaluate" / "kvasir-clean.json"
    path.write_text(json.dumps({"run": "kvasir-clean"}))
    with pytest.raises(
        DataError, match=r"kvasir-clean.json has no 'dataset'; make it with `dvc repro evaluate@kvasir-c"
    ):
        tables.main([])
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"kvasir-clean\.json"):
            tables.main([])
