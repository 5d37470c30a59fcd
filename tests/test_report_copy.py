"""`unseg report`: a page about one copy, with audits and evaluations where they are given, and a look by a browser."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pairs
from PIL import Image
from test_report import ATTACK, Page, browse, words
from typer.testing import CliRunner

from unseg_core.audit.run import CLEAN, COPY, DEFENDED, Arm, Audit
from unseg_core.audit.verdict import Verdict
from unseg_core.cli import app
from unseg_core.data.layouts import open_layout
from unseg_core.evaluate.statistics import Interval
from unseg_core.params import DatasetParams, ProtectParams
from unseg_core.protect.engine import protect_dataset
from unseg_core.protect.manifest import Settings, read_summary
from unseg_core.protect.methods.uniform import UniformNoise


@pytest.fixture
def made(tmp_path: Path, rng: np.random.Generator) -> Path:
    """photos/ and safe/, five images, one of them no image."""
    source = write_pairs(tmp_path / "photos", 5, rng)
    (source / "images" / "photo 02.png").write_bytes(b"no image")
    settings = Settings.of(DatasetParams(), ProtectParams(), method="uniform", generator_sha256=None, precision="fp32")
    protect_dataset(open_layout("folder", str(source)), UniformNoise(), settings, str(tmp_path / "safe"))
    return tmp_path


def audit_file(root: Path, answer: Any = "protected", **changes: Any) -> Path:
    """As `unseg audit --out` writes it."""
    high = {"protected": 0.3, "not protected": 0.9, "cannot tell": 0.7}[answer]
    arms = {
        CLEAN: Arm(iou=0.6, seeds=(0.58, 0.62)),
        COPY: Arm(iou=0.06, seeds=(0.05, 0.07), ratio=Interval(value=0.1, low=0.05, high=0.2)),
        DEFENDED: Arm(iou=0.6 * (high - 0.1), seeds=(0.1, 0.1), ratio=Interval(value=high - 0.1, low=0.1, high=high)),
    }
    values: dict[str, Any] = {
        "verdict": Verdict(answer=answer, reason="models reach this or that"),
        "threshold": 0.5,
        "arms": arms,
        "trivial": 0.2,
        "trained_seeds": (0, 1),
        "complete": True,
        "classes": ("object",),
        "scored": ("object",),
        "train_images": 120,
        "test_images": 40,
        "probe": {"model": "unet", "encoder": "", "size": 96, "epochs": 6},
        "copy": {"manifest_sha256": read_summary(str(root / "safe"))["manifest_sha256"]},
        "minutes": 10.0,
        "seconds": 200.0,
    }
    path = root / f"{answer}.json"
    path.write_text(json.dumps({**Audit(**values).as_json(), **changes}, sort_keys=True))
    return path


def evaluation_file(root: Path, method: str, iou: float) -> Path:
    metrics = {
        "run": f"photos-{method}", "dataset": "photos", "method": method, "model": "unet", "encoder": "",
        "classes": ["object"], "train_images": 4, "test_images": 1,
        "seeds": [{"seed": 0, "iou": iou, "class_iou": {"object": iou}}],
    }  # fmt: skip
    path = root / f"photos-{method}.json"
    path.write_text(json.dumps(metrics))
    return path


def report(root: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    out = root / "report.html"
    arguments = ["report", str(root / "safe"), "--against", str(root / "photos"), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, [*arguments, *options])
    page = out.read_text(encoding="utf-8") if out.exists() else ""
    return done.exit_code, json.loads(done.stdout), page


def test_copy_without_audit_is_shown_and_nothing_is_claimed(made: Path) -> None:
    code, result, html = report(made)
    page = Page(html)
    text = words(page.text)
    assert code == 0
    assert page.open == []
    assert result["verdict"] == "open"
    assert "this report cannot say whether the protection works" in text
    for needed in (
        "4 of 5",
        "8 / 2",
        "uniform",
        "without a generator",
        "copy photos",
        "1 image could not be protected",
    ):
        assert needed in text, needed
    assert result["problems"] == ["photos (uniform): 1 image could not be protected, see manifest.jsonl."]
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {"pictures", "bounds", "versions"} <= ids
    assert not {"training", "comparison", "audit"} & ids, "what a copy alone does not have"
    assert {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")} <= ids
    assert read_summary(str(made / "safe"))["manifest_sha256"] in text


def test_pictures_that_are_not_protected_are_told(made: Path) -> None:
    for folder in ("photos", "safe"):
        (made / folder / "images" / "moving.gif").write_bytes(b"GIF89a")
    code, _, html = report(made)
    assert code == 0
    assert "other pictures, videos and archives, as in the original: 1" in words(Page(html).text)


def test_pictures_are_those_of_the_files(made: Path) -> None:
    _, _, html = report(made, "--gallery", "9", "--name", "holidays")
    pictures = Page(html).images()
    assert {name.partition(": ")[0] for name in pictures} == {
        "clean",
        "protected",
        "noise \N{MULTIPLICATION SIGN} 16",
        "region",
    }
    for label, folder in (("clean", "photos"), ("protected", "safe")):
        wanted = np.asarray(Image.open(made / folder / "images" / "photo 03.png"))
        assert np.array_equal(pictures[f"{label}: photo 03 of holidays"], wanted)
    assert len(pictures) == 4 * 4


@pytest.mark.parametrize(
    ("answer", "code", "words_on_top"),
    [
        (
            "protected",
            0,
            "Models trained on the copy with a defence reach IoU 0.10 on clean images",
        ),
        (
            "not protected",
            1,
            "The protection does not work: models trained on the copy with a defence reach IoU 0.10",
        ),
        ("cannot tell", 1, "Whether the copy is protected cannot be told: models reach this or that."),
    ],
)
def test_audit_is_the_headline(answer: str, code: int, words_on_top: str, made: Path) -> None:
    found, result, html = report(made, "--audit", str(audit_file(made, answer)))
    page = Page(html)
    text = words(page.text)
    assert found == code
    assert result["sentence"].startswith(words_on_top)
    assert page.open == []
    assert answer == "cannot tell" or "models trained on the originals 0.60 (ratio 0." in result["sentence"]
    assert text.index(words_on_top) < text.index("Audit Small models are trained")
    assert "Models reach this or that." in text
    for number in ("0.580", "0.620", "0.100", "0.050 \N{EN DASH} 0.200", "0.200", "120 training images"):
        assert number in text, number
    assert "2 seeds of a small model (unet) that sees 96 pixels" in text
    charts = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert "photos: IoU on clean test images" in charts


def test_audit_that_trained_nothing_has_no_numbers(made: Path) -> None:
    empty = {name: {"iou": None, "seeds": [], "ratio": None} for name in (CLEAN, COPY, DEFENDED)}
    path = audit_file(made, "cannot tell", arms=empty, trivial=None, reason="the data set is too small")
    code, _, html = report(made, "--audit", str(path))
    page = Page(html)
    assert code == 1
    assert page.open == []
    assert "The data set is too small." in page.text
    assert "Per seed" not in page.text


def test_evaluations_are_compared_and_the_worst_word_is_on_top(made: Path) -> None:
    options = [
        f"--evaluation={evaluation_file(made, method, iou)}" for method, iou in (("clean", 0.6), ("uniform", 0.5))
    ]
    code, result, html = report(made, *options, "--audit", str(audit_file(made)))
    text = words(Page(html).text)
    assert code == 0, "neither the check nor the audit has failed"
    assert result["verdict"] == "partial"
    assert "The protection holds on 1 of 2 comparisons and is partial on 1." in text
    assert "photos, audit" in text
    assert "Comparison For each method" in text


def test_changed_copy_is_told_and_still_shown(made: Path) -> None:
    (made / "safe" / "images" / "photo 03.png").unlink()
    code, result, html = report(made, "--gallery", "9")
    assert code == 1
    assert "1 differences between the manifest and the files" in " ".join(result["problems"])
    assert "photo 03 of photos" not in html
    assert "photo 04 of photos" in html


def test_audit_of_another_copy_is_refused(made: Path) -> None:
    path = audit_file(made, copy={"manifest_sha256": "0" * 64})
    code, result, html = report(made, "--audit", str(path))
    assert code == 2
    assert "is the audit of another copy than" in result["error"]
    assert html == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "fine"}, "the verdict must be one of protected, not protected, cannot tell, not 'fine'"),
        ({"threshold": "much"}, "'threshold' must be a number"),
        ({"arms": {CLEAN: {"seeds": ["x"], "ratio": None}}}, "must be a number"),
        ({"probe": 3}, "'probe' must be an object"),
    ],
)
def test_malformed_audits_are_named(changes: dict[str, Any], message: str, made: Path) -> None:
    code, result, _ = report(made, "--audit", str(audit_file(made, **changes)))
    assert code == 2
    assert message in result["error"]
    assert "protected.json" in result["error"]


def test_names_cannot_become_markup(made: Path) -> None:
    arms = {
        CLEAN: {"seeds": [0.5, 0.5], "ratio": None},
        ATTACK: {"seeds": [0.1, 0.1], "ratio": {"value": 0.2, "low": 0.1, "high": 0.3}},
    }
    probe = {"model": ATTACK, "encoder": ATTACK, "size": 96, "epochs": 1}
    path = audit_file(made, arms=arms, reason=ATTACK, probe=probe)
    _, _, html = report(made, "--audit", str(path), "--name", ATTACK)
    page = Page(html)
    assert page.open == []
    assert "<script" not in html
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert ATTACK in page.text


@pytest.mark.browser
def test_a_browser_shows_the_audit(made: Path) -> None:
    report(made, "--audit", str(audit_file(made)))
    page, shot = made / "report.html", made / "shot.png"
    dom = unescape(browse(page, "--dump-dom").stdout)
    assert "Models trained on the copy with a defence reach IoU 0.10" in dom
    browse(page, "--window-size=1200,2600", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    # The dots of the three ways of training, in the palette's colours: --c0, --c1 and --c3 of page.css.
    for colour in ((0x2B, 0x66, 0xA8), (0xC7, 0x4A, 0x12), (0x83, 0x54, 0x9F)):
        assert int((np.abs(pixels - colour).sum(axis=2) < 6).sum()) > 50, colour
