"""The HTML report: numbers, honesty, escaping, determinism, files that are missing, and a look by a real browser."""

import base64
import dataclasses
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unseg_core.data.scenes import render_scene
from unseg_core.errors import DataError
from unseg_core.report.charts import Interval, histogram_chart, interval_chart, nice_ticks
from unseg_core.report.comparison import T_QUANTILES, compare, comparison_json, mean_interval, t_quantile
from unseg_core.report.contents import (
    Evaluation,
    EvaluationPoint,
    GalleryItem,
    PixelHistogram,
    ProtectionSummary,
    ReportContents,
    SeedScore,
    TrainPoint,
)
from unseg_core.report.load import load_contents, pipeline_copy, read_histogram
from unseg_core.report.page import render_report
from unseg_core.report.paired import paired_comparisons
from unseg_core.report.pictures import MAX_SIDE, amplified_noise, lossless_uri, overlay, shown
from unseg_core.report.verdict import Verdict, bound_problems, headline, judge, ratio_verdict

ATTACK = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
VOID_TAGS = {"meta", "img", "br", "hr", "link", "input"}


# --- contents in memory


def evaluation(method: str, *ious: float, dataset: str = "scenes", model: str = "unet", run: str = "") -> Evaluation:
    curve = [
        EvaluationPoint(
            seed=seed, epoch=epoch, train_loss=1.0 / epoch, test_iou=iou * epoch / 4 if epoch % 2 == 0 else None
        )
        for seed, iou in enumerate(ious)
        for epoch in range(1, 5)
    ]
    return Evaluation(
        run=run or f"{dataset}-{method}",
        dataset=dataset,
        method=method,
        model=model,
        encoder="resnet18",
        classes=("disc", "box"),
        train_images=240,
        test_images=80,
        seeds=tuple(
            SeedScore(seed=seed, iou=iou, class_iou={"disc": iou / 2, "box": None}) for seed, iou in enumerate(ious)
        ),
        curve=tuple(curve),
    )


def protection(method: str = "unseg", *, dataset: str = "scenes", **changes: object) -> ProtectionSummary:
    summary = ProtectionSummary(
        dataset=dataset,
        method=method,
        generator_sha256="ab" * 32 if method == "unseg" else None,
        prompt="mask",
        epsilon=8,
        epsilon_bg=2,
        images=240,
        protected=236,
        no_target=4,
        failed=0,
        linf_inside=8,
        linf_outside=2,
        psnr=35.5,
        checked=240,
        differences=0,
        over_budget=0,
        manifest_sha256="cd" * 32,
    )
    return dataclasses.replace(summary, **changes)


def gallery_item(index: int, *, size: int = 128, dataset: str = "scenes") -> GalleryItem:
    scene = render_scene(index, size=size, seed=3)
    region = scene.labels > 0
    noise = np.random.default_rng(index).integers(-8, 9, scene.image.shape) // np.where(region, 1, 4)[:, :, None]
    protected = np.clip(scene.image.astype(int) + noise, 0, 255).astype(np.uint8)
    return GalleryItem(dataset=dataset, id=f"scene-{index}", clean=scene.image, protected=protected, region=region)


def report_contents(*evaluations: Evaluation, gallery: int = 2, **changes: object) -> ReportContents:
    counts = np.random.default_rng(0).integers(1, 1000, (2, 256))
    contents = ReportContents(
        profile="starter",
        params_text="seed: 7\n",
        git_commit="0123abc",
        versions={"torch": "2.11.0", "numpy": "2.4"},
        train={"size": "tiny", "generator_sha256": "ab" * 32, "images": 1200, "noise_dead_channels": 0},
        train_curve=tuple(
            TrainPoint(epoch=e, phase="generator" if e % 4 else "surrogate", loss=2.0 / (e + 1)) for e in range(9)
        ),
        protections=(protection(), protection("uniform")),
        evaluations=evaluations
        or (evaluation("unseg", 0.05, 0.07), evaluation("clean", 0.7, 0.72), evaluation("uniform", 0.4, 0.5)),
        galleries=tuple(gallery_item(index) for index in range(gallery)),
        histograms=(PixelHistogram(dataset="scenes", images=2, clean=counts[0], protected=counts[1]),),
    )
    return dataclasses.replace(contents, **changes)


class Page(HTMLParser):
    """Tags with attributes, text, and whether every tag is closed in the right order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def images(self) -> dict[str, np.ndarray]:
        return {attrs["alt"]: decode(attrs["src"]) for tag, attrs in self.tags if tag == "img"}


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB"))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


# --- numbers


def test_interval_equals_the_hand_computed_one() -> None:
    # 0.5, 0.6, 0.7: sd 0.1, standard error 0.1 / sqrt(3) = 0.0577350, times 4.3027 = 0.2484164
    assert mean_interval([0.5, 0.6, 0.7]) == pytest.approx((0.6, 0.3515836, 0.8484164), abs=1e-6)
    # 0.70 .. 0.76: sd 0.0258199, standard error 0.0129099, times 3.1824 = 0.0410846
    assert mean_interval([0.70, 0.72, 0.74, 0.76]) == pytest.approx((0.73, 0.6889154, 0.7710846), abs=1e-6)


def test_interval_is_cut_to_possible_values_and_absent_for_one_seed() -> None:
    assert mean_interval([0.4, 0.6]) == (0.5, 0.0, 1.0)
    assert mean_interval([0.4]) == (0.4, None, None)


def test_quantile_table_is_student_t() -> None:
    stats = pytest.importorskip("scipy.stats")
    assert pytest.approx([stats.t.ppf(0.975, count - 1) for count in range(2, 31)], abs=5e-5) == T_QUANTILES
    assert t_quantile(31) == pytest.approx(1.959964, abs=1e-6)


def test_comparison_json_holds_means_intervals_and_ratios() -> None:
    rows = compare([evaluation("unseg", 0.06), evaluation("clean", 0.6, 0.8)])
    assert comparison_json(rows) == {
        "scenes": {
            "clean": {"iou_mean": 0.7, "iou_std": 0.141421, "iou_low": 0.0, "iou_high": 1.0, "seeds": 2},
            "unseg": {
                "iou_mean": 0.06,
                "iou_std": None,
                "iou_low": None,
                "iou_high": None,
                "seeds": 1,
                "ratio_to_clean": 0.085714,
            },
        }
    }
    assert [row.name for row in rows] == ["clean", "unseg"], "the clean run comes first"
    assert rows[1].class_iou == {"disc": 0.03, "box": None}


def test_ratio_is_taken_within_data_set_and_model_only() -> None:
    runs = [
        evaluation("clean", 0.8, model="unet"),
        evaluation("unseg", 0.4, model="unet"),
        evaluation("clean", 0.5, model="deeplab", run="deeplab-clean"),
        evaluation("unseg", 0.4, model="deeplab", run="deeplab-unseg"),
        evaluation("unseg", 0.3, dataset="lung"),
    ]
    table = comparison_json(compare(runs))
    assert list(table) == ["scenes (unet resnet18)", "scenes (deeplab resnet18)", "lung"]
    assert [group["unseg"]["ratio_to_clean"] for group in table.values()] == [0.5, 0.8, None]


def test_runs_with_a_defence_are_compared_with_each_other() -> None:
    runs = [
        evaluation("clean", 0.8),
        evaluation("unseg", 0.4),
        replace(evaluation("clean", 0.6, run="clean-jpeg"), defences=("jpeg:75", "grey")),
        replace(evaluation("unseg", 0.3, run="unseg-jpeg"), defences=("jpeg:75", "grey")),
    ]
    table = comparison_json(compare(runs))
    assert list(table) == ["scenes", "scenes (defence jpeg:75 + grey)"]
    assert [group["unseg"]["ratio_to_clean"] for group in table.values()] == [0.5, 0.5]


def test_scores_by_image_give_intervals(tmp_path: Path) -> None:
    rows = compare([evaluation("clean", 0.8, 0.6), evaluation("unseg", 0.4, 0.3), evaluation("uniform", 0.7)])
    assert paired_comparisons(tmp_path, rows) == {}
    for run, factor in (("clean", 1.0), ("unseg", 0.5)):
        lines = [f"{seed},{image},,{factor * (8 - 2 * seed)},10" for seed in (0, 1) for image in "abc"]
        path = tmp_path / "data" / "scores" / f"scenes-{run}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["seed,image,class,above,below", *lines]))
    table = comparison_json(rows, paired_comparisons(tmp_path, rows))["scenes"]
    assert "difference" not in table["uniform"]
    unseg = table["unseg"]
    assert (unseg["ratio_low"], unseg["ratio_to_clean"], unseg["ratio_high"]) == (0.5, 0.5, 0.5)
    assert (unseg["difference_low"], unseg["difference"], unseg["difference_high"]) == (-0.4, -0.35, -0.3)


def test_two_runs_of_one_method_keep_their_run_names_and_two_clean_runs_are_refused() -> None:
    runs = [evaluation("clean", 0.8), evaluation("mix", 0.5, run="mix-20"), evaluation("mix", 0.4, run="mix-80")]
    assert list(comparison_json(compare(runs))["scenes"]) == ["clean", "mix-20", "mix-80"]
    with pytest.raises(DataError, match="more than one clean run"):
        compare([*runs, evaluation("clean", 0.7, run="again")])


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(0, 3, whole=True, count=8) == [0, 1, 2, 3]
    assert nice_ticks(2, 20, count=8) == [5, 10, 15, 20]
    assert nice_ticks(5, 5) == [5]


def test_interval_chart_puts_the_mean_where_the_axis_says() -> None:
    row = Interval(name="m", style=0, mean=0.2, low=None, high=None, values=[0.2])
    chart = interval_chart(title="t", intervals=[row], x_label="x")
    tick = re.search(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">0.2</text>', chart)
    mean = re.search(r'<circle class="mean" cx="([\d.]+)"', chart)
    assert tick
    assert mean
    assert tick[1] == mean[1]
    assert "whisker" not in chart, "one seed has no interval to draw"


def test_histogram_chart_says_what_it_cuts_off() -> None:
    counts = np.full(256, 10, dtype=np.int64)
    assert "Cut at the top" not in histogram_chart(title="t", clean=counts, protected=counts)
    counts[0] = 10_000
    assert "Cut at the top: value 0: 79.7 %" in histogram_chart(title="t", clean=counts, protected=counts)


# --- what the first screen claims


def outcome_of(*runs: Evaluation, protections: tuple[ProtectionSummary, ...] = ()) -> tuple[Verdict, str, str, str]:
    outcomes = judge(compare(runs), protections)
    return headline(outcomes).verdict, headline(outcomes).sentence, outcomes[0].uniform, " ".join(outcomes[0].limits)


def test_headline_of_a_working_protection() -> None:
    verdict, sentence, uniform, limits = outcome_of(
        evaluation("clean", 0.70, 0.72),
        evaluation("unseg", 0.05, 0.07),
        evaluation("uniform", 0.45, 0.47),
        protections=(protection(), protection("uniform")),
    )
    assert verdict is Verdict.HOLDS
    assert sentence == (
        "Models trained on the protected copy reach IoU 0.06 on clean images; "
        "models trained on the originals 0.71 (ratio 0.08)."
    )
    assert uniform.startswith("Plain uniform noise of the same budget: IoU 0.46 (ratio 0.65).")
    assert "another 0.40" in uniform
    assert limits == ""


def test_headline_of_a_failing_protection_is_as_plain() -> None:
    verdict, sentence, uniform, _ = outcome_of(
        evaluation("clean", 0.71, 0.71), evaluation("unseg", 0.69, 0.69), evaluation("uniform", 0.5, 0.5)
    )
    assert verdict is Verdict.FAILS
    assert sentence.startswith("The protection does not work: models trained on the protected copy reach IoU 0.69")
    assert "the simpler noise protects better" in uniform
    page = words(Page(render_report(report_contents(evaluation("clean", 0.71), evaluation("unseg", 0.69)))).text)
    assert "Protection fails" in page
    assert "The protection does not work" in page
    assert "Protection holds" not in page


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.08, Verdict.HOLDS), (0.6, Verdict.PARTIAL), (0.9, Verdict.FAILS), (1.1, Verdict.FAILS)]
)
def test_ratio_decides_the_verdict(ratio: float, verdict: Verdict) -> None:
    assert ratio_verdict(ratio) is verdict


def test_uniform_that_does_as_much_leaves_nothing_to_the_generator() -> None:
    runs = (evaluation("clean", 0.7), evaluation("unseg", 0.20), evaluation("uniform", 0.21))
    assert "the generator adds nothing" in outcome_of(*runs)[2]
    assert "was not evaluated" in outcome_of(*runs[:2])[2]
    other = (protection(), protection("uniform", epsilon=16))
    assert "of another budget (16 inside, 2 outside)" in outcome_of(*runs, protections=other)[2]


def test_limits_of_the_claim_are_stated() -> None:
    assert "One seed only" in outcome_of(evaluation("clean", 0.7), evaluation("unseg", 0.1))[3]
    wide = outcome_of(evaluation("clean", 0.5, 0.9), evaluation("unseg", 0.0, 0.3))
    assert "overlap" in wide[3]
    assert "weak on the originals" in outcome_of(evaluation("clean", 0.2), evaluation("unseg", 0.01))[3]


def test_nothing_to_compare_is_no_success() -> None:
    assert outcome_of(evaluation("unseg", 0.01))[0] is Verdict.OPEN
    assert outcome_of(evaluation("clean", 0.0), evaluation("unseg", 0.0))[0] is Verdict.OPEN
    assert outcome_of(evaluation("clean", 0.7))[0] is Verdict.OPEN
    assert headline([]).verdict is Verdict.OPEN


def test_several_data_sets_are_counted_and_the_worst_decides() -> None:
    runs = [
        evaluation(method, iou, dataset=dataset)
        for dataset, score in (("a", 0.1), ("b", 0.5), ("c", 0.7))
        for method, iou in (("clean", 0.7), ("unseg", score))
    ]
    top = headline(judge(compare(runs), ()))
    assert top.verdict is Verdict.FAILS
    assert top.sentence == "The protection holds on 1 of 3 data sets, is partial on 1 and does not work on 1."


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"linf_inside": 17}, "inside the region reaches 17 levels, promised were 8"),
        ({"linf_outside": 3}, "outside the region reaches 3 levels, promised were 2"),
        ({"over_budget": 1}, "1 image over the budget"),
        ({"failed": 2}, "2 images could not be protected"),
        ({"differences": 5}, "5 differences"),
        ({"checked": 0}, "was not checked"),
        ({"protected": 0}, "no image was protected"),
    ],
)
def test_a_broken_promise_is_on_the_first_screen(changes: dict[str, object], text: str) -> None:
    assert bound_problems(protection()) == []
    page = words(Page(render_report(report_contents(gallery=0, protections=(protection(**changes),)))).text)
    assert text in page
    assert page.index(text) < page.index("Comparison For each method"), "before the first section"
    assert "not kept" in page
    assert "not passed" in page


# --- the page


def test_same_contents_give_the_same_page() -> None:
    assert render_report(report_contents()) == render_report(report_contents())


def test_page_is_balanced_and_complete() -> None:
    page = Page(render_report(report_contents()))
    assert page.open == []
    text = words(page.text)
    for needed in (
        "scenes",
        "236 of 240",
        "8 / 2",
        "0.060",
        "0.085",
        "35.5",
        "ab" * 32,
        "cd" * 32,
        "0123abc",
        "2.11.0",
        "seed: 7",
    ):
        assert needed in text, needed
    assert "step in amplitude alone is a shortcut" in text
    charts = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(charts) == 4
    assert all(charts)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")} <= set(ids)


def test_page_of_an_empty_profile_is_still_a_page() -> None:
    empty = ReportContents(profile="none", params_text="", git_commit=None, versions={})
    page = Page(render_report(empty))
    assert page.open == []
    assert "Not measured" in page.text
    assert "ready-made one was used" in page.text


def test_page_loads_nothing_from_outside() -> None:
    html = render_report(report_contents())
    for tag, attributes in Page(html).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        resources = [
            attributes[name] for name in ("src", "srcset", "data", "xlink:href", "poster") if name in attributes
        ]
        assert all(resource.startswith("data:image/") for resource in resources)
        assert "href" not in attributes or tag == "a"
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_names_from_files_cannot_become_markup() -> None:
    item = dataclasses.replace(gallery_item(0, size=32), id=ATTACK, dataset=ATTACK)
    counts = np.ones(256, dtype=np.int64)
    hostile = ReportContents(
        profile=ATTACK,
        params_text=ATTACK,
        git_commit=ATTACK,
        versions={ATTACK: ATTACK},
        train={"size": ATTACK, "generator_sha256": ATTACK},
        train_curve=(TrainPoint(epoch=0, phase=ATTACK, loss=1.0),),
        protections=(protection(dataset=ATTACK, failed=1, generator_sha256=ATTACK, manifest_sha256=ATTACK),),
        evaluations=(
            evaluation("clean", 0.7, dataset=ATTACK, model=ATTACK),
            dataclasses.replace(evaluation(ATTACK, 0.1, dataset=ATTACK, model=ATTACK), classes=(ATTACK,)),
        ),
        galleries=(item,),
        histograms=(PixelHistogram(dataset=ATTACK, images=1, clean=counts, protected=counts),),
    )
    html = render_report(hostile)
    page = Page(html)
    assert page.open == []
    assert "<script" not in html
    for tag, attributes in page.tags:
        assert tag != "script"
        assert not any(name.startswith("on") for name in attributes)
        assert tag != "img" or attributes["src"].startswith("data:image/")
    assert ATTACK in page.text, "it is shown as text"


def test_pictures_decode_to_exactly_what_they_claim() -> None:
    item = gallery_item(0)
    pictures = Page(render_report(report_contents(galleries=(item,)))).images()
    names = {
        label: f"{label}: scene-0 of scenes"
        for label in ("clean", "protected", "noise \N{MULTIPLICATION SIGN} 16", "region")
    }
    assert set(pictures) == set(names.values())
    difference = item.protected.astype(int) - item.clean.astype(int)
    assert np.array_equal(pictures[names["clean"]], item.clean)
    assert np.array_equal(pictures[names["protected"]], item.protected)
    assert np.array_equal(pictures[names["noise \N{MULTIPLICATION SIGN} 16"]], np.clip(128 + 16 * difference, 0, 255))
    assert pictures[names["noise \N{MULTIPLICATION SIGN} 16"]].std() > 30


def test_noise_is_clipped_not_wrapped() -> None:
    clean, protected = np.full((1, 2, 3), 100, np.uint8), np.array([[[92] * 3, [108] * 3]], np.uint8)
    assert amplified_noise(clean, protected)[0, :, 0].tolist() == [0, 255]


def test_large_pictures_are_reduced_and_noise_keeps_its_values() -> None:
    clean = np.full((800, 400, 3), 100, np.uint8)
    protected = clean + np.where(np.indices((800, 400)).sum(0) % 2, 3, 0).astype(np.uint8)[:, :, None]
    small = shown(amplified_noise(clean, protected), nearest=True)
    assert small.shape == (MAX_SIDE, MAX_SIDE // 2, 3)
    assert set(np.unique(small)) == {128, 176}, "an average would be neither"
    assert np.array_equal(decode(lossless_uri(small)), small)


def test_overlay_tints_only_the_region() -> None:
    clean = np.full((4, 4, 3), 100, np.uint8)
    region = np.zeros((4, 4), bool)
    region[1, 2] = True
    tinted = overlay(clean, region)
    coloured = tinted.max(axis=2) != tinted.min(axis=2)
    assert np.array_equal(coloured, region)


def test_twelve_pictures_stay_below_two_megabytes() -> None:
    assert len(render_report(report_contents(gallery=12)).encode()) < 2_000_000


# --- reading files


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """What the stages leave under the root for one data set of five images, the third of which has no target."""
    nested = {"skipped": {"damaged": 1}, "validation": {}}
    train = {"profile": "starter", "size": "tiny", "steps": 10, "noise_std": 0.5, **nested}
    write_json(tmp_path / "metrics/train.json", train)
    write_text(
        tmp_path / "plots/train.csv",
        "epoch,phase,loss,loss_bce,loss_dice,learning_rate\n0,surrogate,1.5,1,0.5,1e-4\n1,generator,1.25,1,0.25,1e-4\n",
    )
    summary = dataclasses.asdict(protection())
    summary["verified"] = {name: summary.pop(name) for name in ("checked", "differences", "over_budget")}
    write_json(tmp_path / "metrics/protect/scenes-unseg.json", summary)
    for method, iou in (("clean", 0.7), ("unseg", 0.1)):
        run = dataclasses.asdict(evaluation(method, iou, iou + 0.02))
        del run["curve"]
        write_json(tmp_path / f"metrics/evaluate/scenes-{method}.json", run)
        write_text(
            tmp_path / f"plots/evaluate/scenes-{method}.csv",
            f"seed,epoch,train_loss,test_iou\n0,1,0.9,\n0,2,0.5,{iou}\n",
        )
    copy = tmp_path / "data/protected/scenes/unseg"
    lines = []
    for index in range(5):
        item, name = gallery_item(index, size=32), f"images/{index}.png"
        save(tmp_path / "data/datasets/scenes" / name, item.clean)
        save(copy / name, item.protected)
        lines.append({"id": str(index), "image": name, "status": "no_target" if index == 2 else "protected"})
    write_text(copy / "manifest.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value))


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def load(root: Path, gallery: int = 2, **more: Any) -> ReportContents:
    def region_of(dataset: str, image: str) -> np.ndarray:
        assert dataset == "scenes"
        return gallery_item(int(Path(image).stem), size=32).region

    return load_contents(
        root,
        profile="starter",
        runs=("scenes-clean", "scenes-unseg"),
        protections=("scenes-unseg",),
        gallery=gallery,
        region_of=region_of,
        **more,
    )


def test_files_become_contents(outputs: Path) -> None:
    contents = load(outputs)
    assert contents.protections == (protection(),)
    assert contents.train == {"profile": "starter", "size": "tiny", "steps": 10, "noise_std": 0.5}
    assert [(point.phase, point.loss) for point in contents.train_curve] == [("surrogate", 1.5), ("generator", 1.25)]
    assert [seed.iou for seed in contents.evaluations[1].seeds] == pytest.approx([0.1, 0.12])
    assert [point.test_iou for point in contents.evaluations[0].curve] == [None, 0.7]
    assert [item.id for item in contents.galleries] == ["0", "3"], "spread over the four that were protected"
    assert np.array_equal(contents.galleries[1].protected, gallery_item(3, size=32).protected)
    assert "Protection holds" in render_report(contents)


def test_audits_of_the_pipeline_are_on_the_page(outputs: Path) -> None:
    arms = {
        "originals": {"seeds": [0.6, 0.7]},
        "copy": {"seeds": [0.5, 0.6], "ratio": {"value": 0.8, "low": 0.7, "high": 1}},
    }
    audit = {
        "verdict": "not protected", "reason": "they learn", "threshold": 0.25, "trivial": 0.1, "arms": arms,
        "train_images": 40, "test_images": 30, "copy": {"manifest_sha256": "0" * 64},
        "probe": {"model": "unet", "encoder": "", "size": 96, "epochs": 3},
    }  # fmt: skip
    write_json(outputs / "metrics/audit/scenes.json", audit)
    page = render_report(load(outputs, audits={"scenes": "scenes (grating)"}))
    assert "scenes (grating), audit" in page
    assert "odels trained on the copy reach IoU 0.55" in page
    (outputs / "metrics/audit/scenes.json").unlink()
    with pytest.raises(DataError, match=r"metrics/audit/scenes\.json"):
        load(outputs, audits={"scenes": "scenes (grating)"})


def test_histogram_counts_every_value_of_every_protected_image(outputs: Path) -> None:
    histogram = load(outputs).histograms[0]
    assert histogram.images == 4
    assert histogram.clean.sum() == histogram.protected.sum() == 4 * 32 * 32 * 3
    values = np.stack([gallery_item(index, size=32).protected for index in (0, 1, 3, 4)])
    assert np.array_equal(histogram.protected, np.bincount(values.ravel(), minlength=256))
    assert read_histogram(pipeline_copy(outputs, "scenes"), 1).clean.sum() == 32 * 32 * 3


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("metrics/train.json", "train"),
        ("plots/train.csv", "train"),
        ("metrics/protect/scenes-unseg.json", "protect@scenes"),
        ("metrics/evaluate/scenes-clean.json", "evaluate@scenes-clean"),
        ("plots/evaluate/scenes-unseg.csv", "evaluate@scenes-unseg"),
        ("data/protected/scenes/unseg/manifest.jsonl", "protect@scenes"),
        ("data/datasets/scenes/images/0.png", "protect@scenes"),
    ],
)
def test_a_missing_file_is_named_with_its_stage(outputs: Path, name: str, stage: str) -> None:
    (outputs / name).unlink()
    with pytest.raises(DataError) as caught:
        load(outputs)
    assert str(outputs / name) in str(caught.value)
    assert f"dvc repro {stage}`" in str(caught.value)


def edited_json(name: str, **changes: object) -> Callable[[Path], None]:
    return lambda root: write_json(root / name, json.loads((root / name).read_text()) | changes)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda root: write_text(root / "metrics/train.json", "{"), "train.json: is not JSON"),
        (lambda root: write_text(root / "metrics/train.json", "[]"), "must hold one JSON object"),
        (lambda root: write_text(root / "metrics/train.json", '{"steps": NaN}'), "'steps' must be a finite number"),
        (lambda root: (root / "metrics/train.json").write_bytes(b"\xff\xfe"), "train.json: cannot be read"),
        (
            lambda root: write_text(root / "plots/train.csv", "epoch,loss\n0,1\n"),
            "line 2: the field 'phase' is missing",
        ),
        (lambda root: write_text(root / "plots/train.csv", "epoch,phase,loss\n0,nap,1\n"), "not 'nap'"),
        (edited_json("metrics/protect/scenes-unseg.json", failed=-1), "'failed' must be a whole number"),
        (edited_json("metrics/protect/scenes-unseg.json", verified=3), "'verified' must be an object"),
        (edited_json("metrics/evaluate/scenes-clean.json", classes="disc"), "'classes' must be a list"),
        (edited_json("metrics/evaluate/scenes-clean.json", seeds=[]), "it has no seeds"),
        (
            edited_json(
                "metrics/evaluate/scenes-clean.json",
                seeds=[{"seed": 0, "iou": 71.0, "class_iou": {"disc": 1, "box": 1}}],
            ),
            r"seeds\[0\]: 'iou' must be a number in 0..1",
        ),
        (
            lambda root: write_text(
                root / "data/protected/scenes/unseg/manifest.jsonl",
                '{"id": "x", "image": "../../secret.png", "status": "protected"}\n',
            ),
            "leaves the data set",
        ),
        (
            lambda root: save(root / "data/protected/scenes/unseg/images/0.png", np.zeros((8, 8, 3), np.uint8)),
            r"its size is \(8, 8, 3\)",
        ),
    ],
)
def test_a_malformed_file_is_refused_with_its_name(outputs: Path, damage: Callable[[Path], None], text: str) -> None:
    damage(outputs)
    with pytest.raises(DataError, match=text):
        load(outputs)


# --- a real browser


def browse(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    switches = ("gpu", "quic", "background-networking", "component-update", "sync")
    command = [chromium, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in switches)]
    command += [f"--user-data-dir={page.parent / 'browser'}", *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.browser
def test_a_browser_shows_the_headline_and_the_pictures(tmp_path: Path) -> None:
    magenta = np.zeros((64, 64, 3), np.uint8) + np.array([255, 0, 255], np.uint8)
    item = GalleryItem(dataset="scenes", id="m", clean=magenta, protected=magenta, region=None)
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    page.write_text(render_report(report_contents(galleries=(item,))), encoding="utf-8")
    dom = unescape(browse(page, "--dump-dom").stdout)
    assert "Models trained on the protected copy reach IoU 0.06 on clean images" in dom
    browse(page, "--window-size=1200,2400", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    shown_pixels = int((np.abs(pixels - [255, 0, 255]).sum(axis=2) < 6).sum())
    assert shown_pixels > 2 * 64 * 64, "both pictures are drawn, enlarged"
    assert pixels[2, 2].min() > 200, "light by default"


@pytest.mark.browser
def test_a_browser_that_prefers_dark_gets_dark(tmp_path: Path) -> None:
    page, shot = tmp_path / "report.html", tmp_path / "shot.png"
    page.write_text(render_report(report_contents(gallery=0)), encoding="utf-8")
    browse(page, "--blink-settings=preferredColorScheme=0", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels[2, 2].max() < 60
    assert pixels.max() > 200, "with light text on it"
