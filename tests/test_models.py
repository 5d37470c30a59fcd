"""The contract of the downstream models: every one of them builds, has a loss with gradients, and predicts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT
from safetensors.torch import save_file

from tasks.parameters import load_params
from unseg_core.data.sample import Annotation, Segment, segment_of
from unseg_core.device import autocast
from unseg_core.errors import ParameterError, WeightsError
from unseg_core.evaluate.batch import Batch, Frame
from unseg_core.evaluate.models import MODELS, DownstreamModel, build_model
from unseg_core.evaluate.models.mask2former import ENCODERS as ENCODERS_OF_MASK2FORMER
from unseg_core.evaluate.predictions import Instances, Panoptic
from unseg_core.evaluate.pretrained import fill_fitting
from unseg_core.evaluate.scoring import METERS, SEMANTIC
from unseg_core.evaluate.targets import objects_of
from unseg_core.params import EvaluateParams

CLASSES = ("disc", "brick", "sky")
SIDE = 64
ENCODERS = {
    "deeplabv1": ["vgg16"],
    "deeplabv3": ["mobilenet_v2"],
    "dino": ["resnet50"],
    "mask2former": ["resnet50", "swin_tiny"],
    "rsprompter": ["tiny"],
    "sam_hq": ["vit_b"],
    "segformer": ["mit_b0"],
    "unet": [""],
    "unetplusplus": ["mobilenet_v2", "tu-res2net50_14w_8s", "tu-regnetx_002"],
}
CASES = [
    (name, task, encoder)
    for name, entry in MODELS.items()
    for task in sorted(entry.tasks - {"medical"})
    for encoder in ENCODERS[name]
]


def recipe(name: str, task: str, encoder: str) -> EvaluateParams:
    # The literal of the task is checked where a profile is read.
    return EvaluateParams(
        model=name, task=task, encoder=encoder, width="tiny", size=SIDE, decoder_channels=(16, 16, 8, 8, 8), seeds=(0,)
    )


def annotation(*, empty: bool = False) -> Annotation:
    """48 x 64 pixels: two things on something, and a crowd."""
    height, width = 48, 64
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - 24) ** 2 + (columns - 20) ** 2 < 150
    brick = (rows > 8) & (rows < 30) & (columns > 40) & (columns < 60)
    segments: tuple[Segment, ...] = (
        segment_of(~disc & ~brick & (rows < 40), 3, is_thing=False),
        segment_of(disc, 1),
        segment_of(brick, 2),
        segment_of((rows >= 40) & (columns < 30), 1, is_crowd=True),
    )
    return Annotation(height=height, width=width, segments=() if empty else segments)


def batch_of(task: str, annotations: list[Annotation]) -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(len(annotations), 3, SIDE, SIDE, generator=generator)
    if task in SEMANTIC:
        labels = torch.randint(0, len(CLASSES) + 1, (len(annotations), SIDE, SIDE), generator=generator)
        labels[:, :4] = 255
        return Batch(images=images, labels=labels)
    frames = tuple(Frame(height=one.height, width=one.width, side=SIDE) for one in annotations)
    objects = tuple(objects_of(one, frame) for one, frame in zip(annotations, frames, strict=True))
    return Batch(images=images, objects=objects, frames=frames, annotations=tuple(annotations))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_cases_name_every_model() -> None:
    assert set(ENCODERS) == set(MODELS)
    assert {task for _, task, _ in CASES} | {"medical"} == set(METERS)


@pytest.mark.parametrize(("name", "task", "encoder"), CASES)
def test_contract(name: str, task: str, encoder: str) -> None:
    model = build_model(recipe(name, task, encoder), len(CLASSES))
    batch = batch_of(task, [annotation(), annotation()])
    loss = model.loss(batch)
    assert loss.ndim == 0
    assert loss.isfinite()
    loss.backward()
    given = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.isfinite().all())}
    reached = sum(p.numel() for name, p in model.named_parameters() if name in given)
    assert reached > 0.7 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.eval()
    meter = METERS[task][1](CLASSES)
    with torch.inference_mode():
        predicted = model.predict(batch)
        again = model.predict(batch)
    check(task, predicted)
    meter.update(predicted, batch)
    assert 0.0 <= meter.result().main <= 1.0
    assert same(predicted, again)


def check(task: str, predicted: object) -> None:
    if task in SEMANTIC:
        assert isinstance(predicted, torch.Tensor)
        assert predicted.shape == (2, SIDE, SIDE)
        assert 0 <= int(predicted.min()) <= int(predicted.max()) <= len(CLASSES)
        return
    assert isinstance(predicted, list)
    assert len(predicted) == 2
    for one in predicted:
        if isinstance(one, Instances):
            assert len(one.scores) == len(one.categories) == len(one.boxes)
            assert all(one.scores[:-1] >= one.scores[1:])
            assert set(one.categories.tolist()) <= {1, 2, 3}
            assert (one.rles is None) == (task == "detection")
            assert one.boxes.min(initial=0.0) >= 0.0
            assert one.boxes.max(initial=0.0) <= 64.0
        elif isinstance(one, Panoptic):
            assert one.ids.shape == (48, 64)
            assert set(np.unique(one.ids).tolist()) <= {0, *one.categories}
        else:
            assert one.shape == (3, 48, 64)
            assert one.dtype == bool


def same(one: object, other: object) -> bool:
    return all(torch.equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))


def arrays(predicted: object) -> list[torch.Tensor]:
    if isinstance(predicted, torch.Tensor):
        return [predicted]
    assert isinstance(predicted, list)
    parts = [
        one if isinstance(one, np.ndarray) else one.ids if isinstance(one, Panoptic) else one.boxes
        for one in predicted
    ]  # fmt: skip
    return [torch.from_numpy(part) for part in parts]


@pytest.mark.parametrize(("name", "task", "encoder"), CASES)
def test_images_without_any_object_are_no_obstacle(name: str, task: str, encoder: str) -> None:
    model = build_model(recipe(name, task, encoder), len(CLASSES))
    whole = annotation(empty=True)
    batch = batch_of(task, [whole, whole])
    if batch.labels is not None:
        batch = replace(batch, labels=torch.zeros_like(batch.labels))
    loss = model.loss(batch)
    assert loss.isfinite()
    loss.backward()
    model.eval()
    with torch.inference_mode():
        assert len(model.predict(batch)) == 2


@pytest.mark.parametrize(("name", "task", "encoder"), CASES)
def test_bfloat16_comes_near_to_float32(name: str, task: str, encoder: str) -> None:
    batch = batch_of(task, [annotation(), annotation()])
    losses = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(5)
        model = build_model(recipe(name, task, encoder), len(CLASSES))
        with autocast(torch.device("cpu"), precision):  # type: ignore[arg-type]  # one of the two literals
            loss = model.loss(batch)
        loss.backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
        losses.append(loss.item())
        model.eval()
        with torch.inference_mode(), autocast(torch.device("cpu"), precision):  # type: ignore[arg-type]
            check(task, model.predict(batch))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("name", list(MODELS))
def test_same_seed_same_weights_and_loss(name: str) -> None:
    task = sorted(MODELS[name].tasks)[0]
    batch = batch_of(task, [annotation(), annotation()])
    losses = []
    for _ in range(2):
        torch.manual_seed(11)
        losses.append(build_model(recipe(name, task, ENCODERS[name][0]), len(CLASSES)).loss(batch).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["deeplabv1", "deeplabv3", "dino", "rsprompter", "unetplusplus"])
def test_weights_from_a_file_with_other_classes(name: str, tmp_path: Path) -> None:
    task = sorted(MODELS[name].tasks)[0]
    one = recipe(name, task, ENCODERS[name][0])
    path = tmp_path / "weights.safetensors"
    state = inner(build_model(one, 7)).state_dict()
    save_file({key: value.clone().contiguous() for key, value in state.items()}, path)
    torch.manual_seed(99)
    with pytest.warns(UserWarning, match="which start at random"):
        loaded = inner(build_model(replace(one, weights=str(path)), len(CLASSES)))
    own = loaded.state_dict()
    equal = [key for key in own if own[key].shape == state[key].shape]
    assert len(equal) > 0.8 * len(own)
    assert all(torch.equal(own[key], state[key]) for key in equal)


def inner(model: DownstreamModel) -> torch.nn.Module:
    network = getattr(model, "network", model)
    assert isinstance(network, torch.nn.Module)
    return network


@pytest.mark.parametrize(("name", "encoder"), [("mask2former", "swin_tiny"), ("mask2former", "resnet50")])
def test_weights_from_a_folder_of_transformers(name: str, encoder: str, tmp_path: Path) -> None:
    one = recipe(name, "instance", encoder)
    saved = build_model(one, 7)
    saved.network.save_pretrained(tmp_path)
    torch.manual_seed(99)
    loaded = build_model(replace(one, weights=str(tmp_path)), len(CLASSES))
    other = saved.state_dict()
    for key, value in loaded.state_dict().items():
        if value.shape == other[key].shape and value.is_floating_point():
            assert torch.equal(value, other[key]), key


@pytest.mark.parametrize("encoder", ["resnet50", "swin_tiny"])
def test_encoder_of_mask2former_from_a_folder(encoder: str, tmp_path: Path) -> None:
    from transformers import CONFIG_MAPPING, AutoModel

    settings = dict(ENCODERS_OF_MASK2FORMER[encoder]["tiny"])
    published = AutoModel.from_config(CONFIG_MAPPING[settings.pop("model_type")](**settings))
    published.save_pretrained(tmp_path)
    expected = next(value for value in published.state_dict().values() if value.ndim == 4)
    one = replace(recipe("mask2former", "instance", encoder), encoder_weights=str(tmp_path))
    state = build_model(one, len(CLASSES)).state_dict()
    name = next(key for key in state if "pixel_level_module.encoder" in key and state[key].ndim == 4)
    assert torch.equal(state[name], expected)
    with pytest.raises(WeightsError, match="give a Hub name or a folder"):
        build_model(replace(one, encoder_weights=str(tmp_path / "model.safetensors")), len(CLASSES))


def test_pretrained_sam_hq_trains_its_own_parts_only(tmp_path: Path) -> None:
    one = recipe("sam_hq", "interactive", "vit_b")
    build_model(one, 1).network.save_pretrained(tmp_path)
    model = build_model(replace(one, weights=str(tmp_path)), 1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("mask_decoder" in name for name in trained)
    assert not any("transformer" in name or "output_hypernetworks" in name for name in trained)
    model.loss(batch_of("interactive", [annotation(), annotation()])).backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if name in trained)
    with pytest.raises(ParameterError, match="is for 64; give that"):
        build_model(replace(one, weights=str(tmp_path), size=128), 1)


def test_pretrained_sam_is_kept_in_rsprompter(tmp_path: Path) -> None:
    one = replace(recipe("rsprompter", "instance", "tiny"), size=96)
    path = tmp_path / "sam.pth"
    torch.save(build_model(one, 3).sam.state_dict(), path)
    model = build_model(replace(one, encoder_weights=str(path)), 3)
    kept = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert kept == {"image_encoder", "prompt_encoder"}


def test_dino_has_the_names_of_the_official_checkpoints() -> None:
    model = build_model(recipe("dino", "detection", "resnet50"), 91)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in {
        "backbone.0.body.layer2.0.conv1.weight": (128, 64, 3, 3),
        "input_proj.3.0.weight": (64, 512, 3, 3),
        "input_proj.0.1.weight": (64,),
        "label_enc.weight": (92, 64),
        "transformer.level_embed": (4, 64),
        "transformer.tgt_embed.weight": (40, 64),
        "transformer.enc_output_norm.bias": (64,),
        "transformer.enc_out_class_embed.weight": (91, 64),
        "transformer.enc_out_bbox_embed.layers.2.weight": (4, 64),
        "transformer.encoder.layers.1.self_attn.sampling_offsets.bias": (4 * 4 * 2 * 2,),
        "transformer.decoder.layers.0.cross_attn.attention_weights.weight": (4 * 4 * 2, 64),
        "transformer.decoder.layers.0.self_attn.in_proj_weight": (192, 64),
        "transformer.decoder.layers.1.norm3.weight": (64,),
        "transformer.decoder.norm.weight": (64,),
        "transformer.decoder.ref_point_head.layers.0.weight": (64, 128),
        "transformer.decoder.bbox_embed.0.layers.1.bias": (64,),
        "transformer.decoder.class_embed.0.bias": (91,),
    }.items():
        assert shapes[name] == shape, name


def test_mistakes_name_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="choose one of deeplabv1"):
        build_model(EvaluateParams(model="magic"), 2)
    with pytest.raises(ParameterError, match="no such encoder"):
        build_model(EvaluateParams(encoder="magic"), 2)
    with pytest.raises(ParameterError, match="no such encoder"):
        build_model(EvaluateParams(encoder="tu-magic"), 2)
    with pytest.raises(ParameterError, match="'unetplusplus' has no task 'panoptic'; choose one of mask2former"):
        build_model(EvaluateParams(task="panoptic"), 2)
    for name, task in (("mask2former", "panoptic"), ("dino", "detection"), ("rsprompter", "instance")):
        with pytest.raises(ParameterError, match=f"for {name} choose"):
            build_model(replace(recipe(name, task, "magic"), width="paper"), 2)
    with pytest.raises(ParameterError, match="does not fit deeplabv3"):
        build_model(EvaluateParams(model="deeplabv3", encoder="densenet121"), 2)
    with pytest.raises(WeightsError, match="does not exist"):
        build_model(EvaluateParams(model="deeplabv1", weights=str(tmp_path / "none.pth")), 2)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        build_model(replace(recipe("mask2former", "instance", "resnet50"), weights=str(tmp_path / "none")), 2)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(WeightsError, match="0 of the network's 2 entries"):
        fill_fitting(torch.nn.Linear(2, 2), {"other": torch.zeros(1)}, origin="x.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("unetplusplus", "resnet50"),
        ("unetplusplus", "densenet169"),
        ("unetplusplus", "efficientnet-b6"),
        ("unetplusplus", "tu-res2net50_26w_4s"),
        ("unetplusplus", "tu-regnetx_080"),
        ("deeplabv3", "resnet50"),
        ("deeplabv1", "vgg16"),
    ],
)
def test_semantic_models_of_the_paper(name: str, encoder: str) -> None:
    model = build_model(EvaluateParams(model=name, encoder=encoder), 2)
    batch = Batch(images=torch.rand(2, 3, 64, 64), labels=torch.randint(0, 3, (2, 64, 64)))
    model.loss(batch).backward()
    model.eval()
    with torch.inference_mode():
        assert model.predict(batch).shape == (2, 64, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "encoder", "millions"),
    [
        ("mask2former", "panoptic", "resnet50", 44.0),
        ("mask2former", "panoptic", "swin_tiny", 47.0),
        ("dino", "detection", "resnet50", 47.0),
    ],
)
def test_sizes_are_those_of_the_papers(name: str, task: str, encoder: str, millions: float) -> None:
    """Parameters in millions as the papers' tables have them."""
    model = build_model(EvaluateParams(model=name, task=task, encoder=encoder), 80)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


def recipes_of_the_paper() -> dict[str, EvaluateParams]:
    """By what is built: one of those of the profiles that have the paper's runs."""
    found = {}
    for path in sorted((PROJECT / "profiles").glob("paper*.yaml")):
        params = load_params(path)
        for one in map(params.recipe, params.runs):
            found[f"{one.model}-{one.encoder}-{one.task}-{one.size}"] = one
    return found


@pytest.mark.slow
@pytest.mark.parametrize("one", recipes_of_the_paper().values(), ids=recipes_of_the_paper())
def test_models_of_the_profiles_of_the_paper_are_built(one: EvaluateParams) -> None:
    assert any(p.requires_grad for p in build_model(one, 3).parameters())
