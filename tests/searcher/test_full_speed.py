"""What makes a training on one device faster: results must stay what they were, up to the rounding that is stated."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from timm.data.constants import IMAGENET_DEFAULT_STD
from torch import Tensor

import searcher.datasets.on_device
from bhvit.errors import InvalidInput
from searcher.checkpoint_files import LAST
from searcher.checkpoints import read_tensors
from searcher.datasets.batches import TrainingBatches
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.datasets.listing import ImageList
from searcher.datasets.on_device import DeviceImages
from searcher.preflight import check_compiler
from searcher.recipe import Augmentation, recipe_from
from searcher.training import Objective, adamw, train_phase
from tests.searcher.divided_steps import network as whole_network
from tests.searcher.killed_training import images, network, phase_run
from tests.searcher.spaces import small_space
from tests.searcher.tiny_images import image_folder, small_recipe, write_image

CPU = torch.device("cpu")
RANDOM = Augmentation(random_erasing=0.5, mixup=0.8, cutmix=1.0)


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> ImageList:
    root = image_folder(tmp_path_factory.mktemp("colours"))
    for i in range(3):
        write_image(root / "train" / "red" / f"large{i}.jpg", (200, 50, 40), seed=i, size=(150 + 70 * i, 190))
    return DataConfig("image_folder", str(root)).list_images().train


def batches(store: ImageStore | DeviceImages, labels: tuple[int, ...], augmentation: Augmentation) -> TrainingBatches:
    options = {"batch_size": 8, "smoothing": 0.1, "seed": (0, "fp"), "workers": 0, "device": CPU}
    return TrainingBatches(store, labels, 3, 32, augmentation, **options)  # type: ignore[arg-type]


def pairs(listing: ImageList, augmentation: Augmentation) -> Iterator[tuple[tuple[Tensor, Tensor], ...]]:
    """The same batches of two epochs, from the device and from PIL."""
    device = batches(DeviceImages(listing.items, CPU), listing.labels, augmentation)
    pil = batches(ImageStore(listing.items, cache=True), listing.labels, augmentation)
    for epoch in range(2):
        yield from zip(device.epoch(epoch), pil.epoch(epoch), strict=True)


# --- augmentation on the device


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (1.0, 1.0)])
def test_device_crops_are_pils_up_to_the_rounding_of_the_resize(
    listing: ImageList, interpolation: str, scale: tuple[float, float]
) -> None:
    """Oracle: timm on PIL images. Nearly all pixels are within one grey level, sharp bicubic edges aside."""
    augmentation = Augmentation(crop_scale=scale, interpolation=interpolation)
    levels = 255 * torch.tensor(IMAGENET_DEFAULT_STD).view(1, 3, 1, 1)
    for (ours, our_targets), (theirs, their_targets) in pairs(listing, augmentation):
        assert torch.equal(our_targets, their_targets)
        difference = (ours - theirs).abs() * levels
        assert float((difference > 1.01).float().mean()) < 0.01
        assert float(difference.max()) < 8


def test_mixing_and_erasing_are_the_same_on_the_device(listing: ImageList) -> None:
    for (ours, our_targets), (theirs, their_targets) in pairs(listing, RANDOM):
        assert torch.equal(our_targets, their_targets)
        assert float((ours - theirs).abs().mean()) < 0.001  # in units of the data's deviation


def test_erasing_depends_on_the_image_and_not_on_its_place_in_a_batch(listing: ImageList) -> None:
    def erased(batch_size: int) -> list[Tensor]:
        source = batches(ImageStore(listing.items, cache=True), listing.labels, Augmentation(random_erasing=0.7))
        source._order._batch_size = batch_size
        return [image for pixels, _ in source.epoch(1) for image in pixels]

    assert all(torch.equal(a, b) for a, b in zip(erased(8), erased(3), strict=False))


def test_images_that_do_not_fit_are_refused_with_the_remedy(
    listing: ImageList, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(3 * 48 * 40 for _ in range(24)) + sum(3 * 190 * (150 + 70 * i) for i in range(3))
    monkeypatch.setattr(searcher.datasets.on_device, "_free_memory", lambda: 2 * needed)
    assert len(DeviceImages(listing.items, CPU)) == 27
    with pytest.raises(InvalidInput, match=r"half of the free memory of cpu, but they take \d+ MiB .* augment: cpu"):
        DeviceImages(listing.items, CPU, processes=2)


@pytest.mark.parametrize(
    "augmentation", [{"auto_augment": "rand-m9-mstd0.5-inc1"}, {"color_jitter": 0.4}], ids=["policy", "jitter"]
)
def test_what_exists_for_pil_alone_is_refused_on_the_device(augmentation: dict[str, object]) -> None:
    phase = {"epochs": 1, "learning_rate": 0.1}
    plain = {"fp": phase, "qat": phase, "batch_size": 8, "augment": "device"}
    recipe_from(plain)
    with pytest.raises(InvalidInput, match=r"augmentation\.\w+ works on the CPU alone, but .* use augment: cpu"):
        recipe_from(plain | {"augmentation": augmentation})


# --- fused optimizer and torch.compile


def test_fused_optimizer_changes_rounding_alone() -> None:
    after: list[list[Tensor]] = []
    for fused in (True, False):
        model, recipe = network(), small_recipe(fused_optimizer=fused)
        optimizer = adamw(model, recipe.fp, recipe)
        assert {group["fused"] for group in optimizer.param_groups} == {fused}
        for step in range(3):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        after.append([p.detach() for p in model.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(*after, strict=True))


def test_speed_alone_makes_no_other_parent_and_no_other_question() -> None:
    fast = {"compile": True, "fused_optimizer": False}
    assert small_recipe(**fast).parent_json() == small_recipe().parent_json()
    assert small_recipe(amp="off").parent_json() != small_recipe().parent_json()
    plain, quick = small_space(recipe="demo"), small_space(recipe={"base": "demo", **fast})
    assert plain.fingerprint == quick.fingerprint
    assert small_space(recipe={"base": "demo", "augment": "device"}).fingerprint != plain.fingerprint
    assert small_space(recipe="demo", search={"processes": 4}).fingerprint == plain.fingerprint


def test_absent_compiler_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_compiler(small_recipe())
    with pytest.raises(InvalidInput, match=r"needs the C\+\+ compiler no-such-compiler, but .* use compile: false"):
        check_compiler(small_recipe(compile=True))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on the CPU")
def test_compiled_step_is_the_uncompiled_one_up_to_rounding(tmp_path: Path) -> None:
    """Of a block with int4 attention, a binary MLP and DropPath, in float64; its parameters keep their names.

    A whole network agrees as well (5e-14), but takes minutes to compile.
    """
    plain = whole_network().blocks[3][0]
    batch = torch.randn(8, 3, 3, 32, dtype=torch.double)
    plain(batch)  # first-batch values
    compiled = copy.deepcopy(plain)
    compiled.compile(options={"fallback_random": True})
    for model in (plain, compiled):
        torch.manual_seed(1)
        model(batch).square().sum().backward()
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for (name, ours), theirs in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-10), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ on the CPU")
def test_compiled_training_is_the_uncompiled_one_up_to_rounding(listing: ImageList, tmp_path: Path) -> None:
    root, changes = listing.items[0].parents[2], {"fp": {"epochs": 2, "learning_rate": 0.01}}

    def losses(folder: Path, **more: object) -> list[float]:
        folder.mkdir()
        run = phase_run(folder, **changes, **more)
        state = train_phase(network(), run, images(root, **changes), Objective(), lambda record: False)
        return [record.train_loss for record in state.history]

    compiled, plain = losses(tmp_path / "compiled", compile=True), losses(tmp_path / "plain")
    assert compiled == pytest.approx(plain, rel=1e-4)
    names = [read_tensors(tmp_path / name / LAST)[0].keys() for name in ("compiled", "plain")]
    assert names[0] == names[1]
