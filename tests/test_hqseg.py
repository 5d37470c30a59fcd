"""HQSeg-44K from small archives of its names and structure: HTTP, S3, folders; broken, killed, incomplete."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import PROJECT
from file_server import FileServer, serve
from PIL import Image
from test_download import s3_bucket  # noqa: F401  # a fixture

from unseg_core.data.hqseg import OFFICIAL, PARTS, fetch_hqseg
from unseg_core.data.hqseg_check import check_hqseg, place_in
from unseg_core.data.layouts import detect_layout, open_layout
from unseg_core.data.layouts.hqseg44k import SUBSETS, Subset, is_hqseg44k, open_hqseg44k
from unseg_core.data.sample import annotation_for, union_mask
from unseg_core.data.sources import fetch_source
from unseg_core.download import BLOCK
from unseg_core.errors import DataError, ParameterError
from unseg_core.params import SourceParams, parse_params

SMALL = tuple(replace(subset, count=2 + i % 3) for i, subset in enumerate(SUBSETS))
TRAIN = sum(subset.count for subset in SMALL if subset.split == "train")
ALL = sum(subset.count for subset in SMALL)


def encoded(pixels: np.ndarray, name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=name)
    return buffer.getvalue()


def pairs_of(subsets: Sequence[Subset]) -> dict[str, bytes]:
    """All images and masks of the data set, by path."""
    files, rng = {}, np.random.Generator(np.random.PCG64(1))
    for subset in subsets:
        for i in range(subset.count):
            mask = np.zeros((9, 12), dtype=np.uint8)
            mask[2 : 4 + i, 3:8] = 255
            stem = f"{i}#Bag#{subset.split} {i}"
            files[f"{subset.images}/{stem}.jpg"] = encoded(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), "JPEG")
            files[f"{subset.masks}/{stem}.png"] = encoded(mask, "PNG")
    return files


PAIRS = pairs_of(SMALL)
# What lies in archives and is no part of the data set.
OTHERS = {
    "DIS5K/DIS-TE1/im/a.jpg": b"another test set",
    "DIS5K/README.md": b"text",
    "__MACOSX/DIS5K/DIS-TR/im/._0#Bag#train 0.jpg": b"resource fork",
    "DIS5K/DIS-TR/im/.DS_Store": b"x",
    "DIS5K/DIS-TR/im/Thumbs.db": b"x",
    "DIS5K/DIS-TR/im/deeper/a.jpg": b"x",
}


def archive_of(part: str, files: dict[str, bytes] | None = None, *, prefix: str = "", cut: str = "") -> bytes:
    """One zip, stored; `prefix` and `cut` change how the paths begin."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in (PAIRS | OTHERS if files is None else files).items():
            if f"{part}/" in f"/{path}":
                archive.writestr(prefix + path.removeprefix(cut), data)
    return buffer.getvalue()


def archives(files: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return {f"data/{part}.zip": archive_of(part, files) for part in PARTS}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(files=archives())) as running:
        yield running


def fetch(
    path: str, folder: Path, *, pinned: Sequence[str] = (), subsets: Sequence[Subset] = SMALL, name: str = "hqseg"
) -> int:
    return fetch_hqseg(folder / name, path=path, archives=pinned, work=folder / "work", subsets=subsets)


def content(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def assert_whole(folder: Path) -> None:
    found = content(folder / "hqseg")
    found.pop("archives.json")
    assert found == PAIRS
    assert sorted(path.name for path in folder.iterdir()) == ["hqseg"]


def test_the_published_numbers() -> None:
    assert sum(subset.count for subset in SUBSETS if subset.split == "train") == 44_320
    assert {subset.images: subset.count for subset in SUBSETS if subset.split == "val"} == {
        "DIS5K/DIS-VD/im": 470,
        "thin_object_detection/COIFT/images": 280,
        "thin_object_detection/HRSOD/images": 287,
        "thin_object_detection/ThinObject5K/images_test": 500,
    }
    assert {subset.part for subset in SUBSETS} == set(PARTS)
    assert f"{OFFICIAL}DIS5K.zip".endswith("sam-hq-team/sam-hq-training/resolve/main/data/DIS5K.zip")


def test_it_arrives_from_http_and_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    assert fetch(f"{server.url}/data/", tmp_path) == ALL
    assert_whole(tmp_path)
    receipt = json.loads((tmp_path / "hqseg" / "archives.json").read_bytes())
    sums = {Path(name).name: hashlib.sha256(data).hexdigest() for name, data in server.files.items()}
    assert receipt["archives"] == sums
    assert sum(receipt["images"].values()) == ALL
    assert len(server.gets()) == 3
    server.requests.clear()
    assert fetch(f"{server.url}/data", tmp_path) == ALL
    assert not server.requests
    (tmp_path / "hqseg" / "DIS5K/DIS-TR/gt/0#Bag#train 0.png").unlink()
    assert fetch(f"{server.url}/data", tmp_path) == ALL
    assert_whole(tmp_path)


def test_the_layout_reads_every_pair_of_a_split(server: FileServer, tmp_path: Path) -> None:
    fetch(f"{server.url}/data/", tmp_path)
    root = tmp_path / "hqseg"
    assert is_hqseg44k(str(root))
    assert detect_layout(str(root)) == "hqseg"
    ids = {}
    for split, count in (("train", TRAIN), ("val", ALL - TRAIN), (None, ALL)):
        layout = open_layout("auto", str(root), split=split)
        samples = list(layout.samples())
        ids[split] = [sample.id for sample in samples]
        assert len(samples) == len(set(ids[split])) == count
        assert layout.classes == ("object",)
        assert list(layout.orphans()) == []
        for sample in samples:
            with Image.open(root / sample.image) as image:
                mask = union_mask(annotation_for(sample, np.asarray(image)))
            assert mask[2:4, 3:8].all()
            assert not mask[0].any()
            assert (root / sample.files[0]).is_file()
    assert ids[None] == ids["train"] + ids["val"]
    assert ids["train"][0] == "DIS5K/DIS-TR/0#Bag#train 0"
    assert "cascade_psp/MSRA_10K/1#Bag#train 1" in ids["train"]
    assert "thin_object_detection/HRSOD/0#Bag#val 0" in ids["val"]


def test_the_layout_of_a_few_subsets_and_of_none(tmp_path: Path) -> None:
    for path, data in PAIRS.items():
        if path.startswith("cascade_psp/ecssd/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
    (tmp_path / "cascade_psp/ecssd/0#Bag#train 0.jpg").unlink()
    (tmp_path / "cascade_psp/ecssd/new.JPG").write_bytes(b"")
    layout = open_hqseg44k(str(tmp_path), split="train")
    ids = [sample.id for sample in layout.samples()]
    assert ids[-1] == "cascade_psp/ecssd/new"
    assert layout.orphans() == ["cascade_psp/ecssd/0#Bag#train 0.png"]
    with pytest.raises(DataError, match="has no mask"):
        list(layout.samples())[-1].read_annotation()
    with pytest.raises(DataError, match="holds none of these sets"):
        open_hqseg44k(str(tmp_path), split="val")
    with pytest.raises(ParameterError, match="it has train, val"):
        open_hqseg44k(str(tmp_path), split="test")
    (tmp_path / "cascade_psp/ecssd/new.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match="the same stem"):
        list(layout.samples())


def test_from_s3(s3_bucket: str, tmp_path: Path) -> None:  # noqa: F811  # the fixture
    import fsspec

    for name, data in archives().items():
        fsspec.filesystem("s3").pipe_file(f"{s3_bucket}/{name}", data)
    assert fetch(f"s3://{s3_bucket}/data", tmp_path) == ALL
    assert_whole(tmp_path)


def test_from_archives_and_unpacked_folders_on_this_machine(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "DIS5K.zip").write_bytes(archive_of("DIS5K", prefix="home/me/data/"))
    with tarfile.open(source / "cascade_psp.tar.gz", "w:gz") as archive:
        with zipfile.ZipFile(io.BytesIO(archive_of("cascade_psp", cut="cascade_psp/"))) as opened:
            opened.extractall(tmp_path / "loose")
        archive.add(tmp_path / "loose", ".")
    for path, data in PAIRS.items():
        if path.startswith("thin"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
    before = content(source)
    assert fetch(str(source), out) == ALL
    assert_whole(out)
    assert content(source) == before
    assert json.loads((out / "hqseg" / "archives.json").read_bytes())["archives"]["thin_object_detection"]
    with pytest.raises(DataError, match=r"holds neither DIS5K.zip .* nor the folder DIS5K"):
        fetch(str(tmp_path / "loose"), out, name="other")
    urls = [(source / "DIS5K.zip").as_uri(), str(source / "cascade_psp.tar.gz"), str(source / "thin_object_detection")]
    assert fetch("", out, pinned=urls, name="again") == ALL


def test_a_repaired_folder_is_read_again(tmp_path: Path) -> None:
    for path, data in PAIRS.items():
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / path).write_bytes(data)
    victim = tmp_path / "source" / "DIS5K/DIS-VD/gt/1#Bag#val 1.png"
    mask = victim.read_bytes()
    victim.unlink()
    with pytest.raises(DataError, match=r"1 without a mask in DIS5K/DIS-VD/gt \(.*1#Bag#val 1.jpg\)"):
        fetch(str(tmp_path / "source"), tmp_path / "out")
    assert not (tmp_path / "out" / "hqseg").exists()
    victim.write_bytes(mask)
    fetch(str(tmp_path / "source"), tmp_path / "out")
    assert_whole(tmp_path / "out")


def test_pinned_archives(server: FileServer, tmp_path: Path) -> None:
    sums = {part: hashlib.sha256(server.files[f"data/{part}.zip"]).hexdigest() for part in PARTS}
    pinned = [f"{server.url}/data/{part}.zip#sha256:{sums[part]}" for part in PARTS]
    wrong = [*pinned[:2], f"{server.url}/data/{PARTS[2]}.zip#sha256:{'0' * 64}"]
    with pytest.raises(DataError, match=f"thin_object_detection.zip is sha256:{sums[PARTS[2]]} instead of"):
        fetch("", tmp_path, pinned=wrong)
    assert not (tmp_path / "hqseg").exists()
    server.requests.clear()
    assert fetch("", tmp_path, pinned=pinned) == ALL
    assert_whole(tmp_path)
    server.requests.clear()
    assert fetch("", tmp_path, pinned=pinned) == ALL
    assert not server.requests
    with pytest.raises(DataError, match="instead of sha256:00000000"):
        fetch("", tmp_path, pinned=wrong)
    local = tmp_path / "DIS5K.zip"
    local.write_bytes(server.files["data/DIS5K.zip"])
    with pytest.raises(DataError, match=r"DIS5K.zip is not sha256:123456"):
        fetch("", tmp_path, pinned=[f"{local}#sha256:123456", *pinned[1:]], name="new")
    with pytest.raises(DataError, match="does not exist"):
        fetch("", tmp_path, pinned=[str(tmp_path / "absent" / "DIS5K.zip"), *pinned[1:]], name="new")


@pytest.mark.parametrize(
    ("pinned", "message"),
    [
        (["http://127.0.0.1/DIS5K.zip"], "lacks cascade_psp, thin_object_detection; name all three"),
        (["a/DIS5K.zip", "b/DIS5K.tar"], "one archive twice"),
        (["a/DIS5K.zip#sha256:xyz"], "'sha256:xyz' is no digest"),
    ],
)
def test_archives_that_cannot_be_meant(pinned: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=message):
        fetch("", tmp_path, pinned=pinned)


def test_a_missing_archive_is_named_and_the_others_are_kept(server: FileServer, tmp_path: Path) -> None:
    lost = server.files.pop("data/cascade_psp.zip")
    with pytest.raises(DataError, match=r"cascade_psp.zip cannot be read"):
        fetch(f"{server.url}/data", tmp_path)
    assert not (tmp_path / "hqseg").exists()
    server.files["data/cascade_psp.zip"] = lost
    assert fetch(f"{server.url}/data", tmp_path) == ALL
    assert_whole(tmp_path)
    assert len(server.gets()) <= 4  # each of the three, and perhaps the one that is not there


def damaged(change: str) -> dict[str, bytes]:
    """The data set with one mistake."""
    files = dict(PAIRS)
    if change == "mask":
        del files["cascade_psp/fss_all/1#Bag#train 1.png"]
    elif change == "image":
        del files["thin_object_detection/COIFT/images/0#Bag#val 0.jpg"]
    elif change == "more":
        files["DIS5K/DIS-TR/im/new.jpg"] = files["DIS5K/DIS-TR/gt/new.png"] = b"x"
    elif change == "subset":
        files = {path: data for path, data in files.items() if "/DIS-VD/" not in path}
    return files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mask", r"1 without a mask in cascade_psp/fss_all \(cascade_psp/fss_all/1#Bag#train 1.jpg\)"),
        ("image", f"thin_object_detection/COIFT/images has {SMALL[8].count - 1} images instead of {SMALL[8].count}"),
        ("more", f"DIS5K/DIS-TR/im has {SMALL[0].count + 1} images instead of {SMALL[0].count}"),
        ("subset", rf"DIS5K/DIS-VD/im is missing \({SMALL[7].count} images\)"),
    ],
)
def test_an_incomplete_set_says_what_is_missing(server: FileServer, change: str, message: str, tmp_path: Path) -> None:
    server.files |= archives(damaged(change))
    with pytest.raises(DataError, match=message) as caught:
        fetch(f"{server.url}/data", tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "hqseg").exists()
    # Asked again it says the same; once the source is right, what it is now is fetched.
    server.requests.clear()
    with pytest.raises(DataError, match=message):
        fetch(f"{server.url}/data", tmp_path)
    assert not server.gets()
    server.files |= archives()
    server.etag = '"2"'
    assert fetch(f"{server.url}/data", tmp_path) == ALL
    assert_whole(tmp_path)


def evil(change: str) -> bytes:
    files = {"DIS5K/DIS-TR/im/a.jpg": b"x", "../../../escaped": b"x"} if change == "path" else PAIRS
    data = archive_of("", files) if change == "path" else archive_of("DIS5K", files)
    if change == "link":
        buffer = io.BytesIO(data)
        info = zipfile.ZipInfo("DIS5K/link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr(info, "/etc")
        return buffer.getvalue()
    if change == "cut":
        return data[: len(data) * 2 // 3]
    if change == "page":
        return b"<html>log in</html>"
    if change == "other":
        return archive_of("DIS5K", {"DIS5K/readme.txt": b"x"})
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("path", "'../../../escaped' leaves the folder"),
        ("link", "'DIS5K/link' is a link"),
        ("cut", "DIS5K.zip cannot be unpacked"),
        ("page", "DIS5K.zip cannot be unpacked"),
        ("other", "holds nothing of HQSeg-44K; check that it is the archive of DIS5K"),
    ],
)
def test_an_archive_that_is_not_to_be_trusted(server: FileServer, change: str, message: str, tmp_path: Path) -> None:
    server.files["data/DIS5K.zip"] = evil(change)
    with pytest.raises(DataError, match=message):
        fetch(f"{server.url}/data", tmp_path / "in" / "here")
    assert not list(tmp_path.rglob("escaped"))
    assert not list(tmp_path.rglob("*.jpg"))
    assert not (tmp_path / "in" / "here" / "hqseg").exists()


def test_two_archives_with_the_same_part(tmp_path: Path) -> None:
    for name in ("DIS5K", "cascade_psp", "thin_object_detection", "all"):
        data = archive_of("" if name == "all" else name, PAIRS)
        (tmp_path / f"{name}.zip").write_bytes(data)
    names = [str(tmp_path / f"{part}.zip") for part in PARTS]
    with pytest.raises(DataError, match="DIS5K and all both hold DIS5K/DIS-TR/gt"):
        fetch("", tmp_path / "out", pinned=[*names, str(tmp_path / "all.zip")])
    assert fetch("", tmp_path / "out", pinned=[str(tmp_path / "all.zip")]) == ALL
    assert_whole(tmp_path / "out")


def test_where_members_go() -> None:
    place = place_in("DIS5K")
    assert place("DIS5K/DIS-TR/im/a.jpg") == place("x/DIS5K/DIS-TR/im/a.jpg") == "DIS5K/DIS-TR/im/a.jpg"
    assert place("DIS-TR/im/a.jpg") == "DIS5K/DIS-TR/im/a.jpg"
    assert place("DIS-TR/im/a.PNG") == "DIS5K/DIS-TR/im/a.PNG"
    for path in ("x/DIS-TR/im/a.jpg", "DIS5K/a.jpg", "a.jpg", ".git/DIS5K/DIS-TR/im/a.jpg", "DIS-TR/im/a.txt"):
        assert place(path) is None
    assert place_in("cascade_psp")("DIS-TR/im/a.jpg") is None


def run_and_kill(folder: Path, path: str, kill_when: Callable[[], bool]) -> None:
    """Fetch in a process of its own, and end that without warning."""
    process = multiprocessing.get_context("fork").Process(target=fetch, args=(path, folder))
    process.start()
    deadline = time.monotonic() + 60
    while not kill_when():
        assert process.is_alive(), "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()


def test_killed_in_the_middle_of_a_download(server: FileServer, tmp_path: Path) -> None:
    noise = np.random.Generator(np.random.PCG64(2)).bytes(2 * BLOCK)
    server.files["data/DIS5K.zip"] = archive_of("DIS5K", PAIRS | {"DIS5K/notes.bin": noise})
    server.seconds = 0.1
    run_and_kill(
        tmp_path, f"{server.url}/data", lambda: any(p.stat().st_size for p in tmp_path.rglob(".unseg-DIS5K.zip.part"))
    )
    assert not (tmp_path / "hqseg").exists()
    server.seconds = 0.0
    server.requests.clear()
    assert fetch(f"{server.url}/data", tmp_path) == ALL
    assert_whole(tmp_path)
    # Of the large one only the rest was asked for.
    assert max(int(asked.removeprefix("bytes=").split("-")[0]) for asked in server.gets()) > 2**20
    assert len(server.gets()) <= 4


def test_killed_in_the_middle_of_unpacking(server: FileServer, tmp_path: Path) -> None:
    many = PAIRS | {f"DIS5K/DIS-TR/im/{i}.txt.jpg": b"x" for i in range(2000)}
    many |= {f"DIS5K/DIS-TR/gt/{i}.txt.png": b"x" for i in range(2000)}
    server.files["data/DIS5K.zip"] = archive_of("DIS5K", many)
    run_and_kill(tmp_path, f"{server.url}/data", lambda: len(list(tmp_path.rglob("*.txt.jpg"))) > 50)
    assert not (tmp_path / "hqseg").exists()
    assert len(list(tmp_path.rglob("*.txt.jpg"))) < 2000
    server.requests.clear()
    subsets = (replace(SMALL[0], count=SMALL[0].count + 2000), *SMALL[1:])
    assert fetch(f"{server.url}/data", tmp_path, subsets=subsets) == ALL + 2000
    assert not server.gets()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hqseg"]


def test_killed_anywhere_it_ends_with_the_same_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for part in PARTS:
        (source / f"{part}.zip").write_bytes(archive_of(part))
    out, fork = tmp_path / "out", multiprocessing.get_context("fork")
    start = time.monotonic()
    fetch(str(source), tmp_path / "once")
    needed = time.monotonic() - start
    rng = np.random.Generator(np.random.PCG64(5))
    for delay in rng.uniform(0, 1.2 * needed, 25):
        process = fork.Process(target=fetch, args=(str(source), out))
        process.start()
        process.join(delay)
        process.kill()
        process.join()
        if (out / "hqseg").exists():
            check_hqseg(out / "hqseg", SMALL)
            (out / "hqseg").rename(tmp_path / f"done{delay}")
    assert fetch(str(source), out) == ALL
    assert_whole(out)


def test_killed_just_before_the_last_rename(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for part in PARTS:
        (source / f"{part}.zip").write_bytes(archive_of(part))
    fetch(str(source), out)
    (out / "hqseg").rename(out / ".unseg-hqseg")
    (next((out / "work").glob("unpacked/*"), out / "work") / "archives").mkdir(parents=True)
    assert fetch(str(source), out) == ALL
    assert_whole(out)


@pytest.mark.slow
def test_the_stage_stops_on_sigterm_and_then_says_what_is_missing(server: FileServer, tmp_path: Path) -> None:
    mapping = yaml.safe_load((PROJECT / "profiles" / "starter.yaml").read_text())
    mapping["sources"]["hqseg"] = {"role": "training", "kind": "hqseg", "path": f"{server.url}/data"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(mapping))
    server.seconds = 30
    command, environment = [sys.executable, "-m", "tasks.fetch", "hqseg"], {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while len(server.requests) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 130
    assert "the same command continues" in process.communicate()[1]
    server.seconds = 0
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"DIS5K/DIS-TR/im has {SMALL[0].count} images instead of 3000" in done.stderr
    assert f"cascade_psp/DUTS-TR has {SMALL[3].count} images instead of 10553" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data" / "training").exists()


def test_a_source_of_this_kind(server: FileServer, tmp_path: Path) -> None:
    source = SourceParams(role="training", kind="hqseg", path="data")
    assert source.layout == "hqseg"
    with pytest.raises(DataError, match="set UNSEG_DATA"):
        fetch_source(source, tmp_path / "hqseg", data_root=None, work=tmp_path / "work")
    (tmp_path / "data").mkdir()
    for name, data in archives().items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="instead of 3000"):
        fetch_source(source, tmp_path / "hqseg", data_root=tmp_path, work=tmp_path / "work")
    for wrong in ({"count": 5}, {"archives": ["a/DIS5K.zip"]}):
        with pytest.raises(ParameterError, match="kind 'hqseg' takes no count"):
            SourceParams(**{"role": "training", "kind": "hqseg", "path": "data", **wrong})
    mapping = yaml.safe_load((PROJECT / "profiles" / "starter.yaml").read_text())
    mapping["sources"]["hqseg"] = {"role": "training", "kind": "hqseg"}
    mapping["train"] |= {"sources": ["hqseg:train"], "validation": ["hqseg:val"]}
    assert parse_params(mapping, origin="x").train.sources == ("hqseg:train",)
    mapping["train"]["sources"] = ["hqseg"]
    with pytest.raises(ParameterError, match="write hqseg:train or hqseg:val"):
        parse_params(mapping, origin="x")


@pytest.mark.slow
def test_archives_of_the_real_numbers_are_complete(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for part in PARTS:
        with zipfile.ZipFile(tmp_path / "source" / f"{part}.zip", "w") as archive:
            for subset in (one for one in SUBSETS if one.part == part):
                for i in range(subset.count):
                    archive.writestr(f"{subset.images}/{i}.jpg", b"x")
                    archive.writestr(f"{subset.masks}/{i}.png", b"y")
    source = SourceParams(role="training", kind="hqseg", path=str(tmp_path / "source"))
    target = tmp_path / "hqseg"
    assert fetch_source(source, target, data_root=None, work=tmp_path / "work") == 44_320 + 1537
    assert sum(1 for _ in open_layout("auto", str(target), split="train").samples()) == 44_320
    assert sum(1 for _ in open_layout("auto", str(target), split="val").samples()) == 1537
