"""Listings, splits, reading of images, and batches against plain torchvision and timm."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import searcher.datasets.images
from bhvit.errors import InvalidInput
from searcher.datasets.batches import EvaluationImages, Normalizer, TrainingBatches
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore, decode
from searcher.datasets.listing import ImageList, stratified
from searcher.datasets.transforms import training_transform
from searcher.outcomes import MissingData
from searcher.randomness import seed_everything
from searcher.recipe import Augmentation
from tests.searcher.tiny_images import COLOURS, image_folder, write_image

CPU = torch.device("cpu")


def pets(root: Path, count: int = 20) -> Path:
    """The official layout with three breeds, `count` trainval images and two test images each."""
    lines: dict[str, list[str]] = {"trainval": ["# comment"], "test": []}
    for label, name in ((3, "american_pit_bull_terrier"), (1, "Abyssinian"), (2, "american_bulldog")):
        for i in range(count + 2):
            stem = f"{name}_{i}"
            lines["trainval" if i < count else "test"].append(f"{stem} {label} 1 1")
            write_image(root / "images" / f"{stem}.jpg", (label * 60, 90, 90), seed=i)
    (root / "annotations").mkdir()
    for split, rows in lines.items():
        (root / "annotations" / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return root


def batches(store: ImageStore, augmentation: Augmentation, size: int = 32, **changes: object) -> TrainingBatches:
    options = {"batch_size": 4, "smoothing": 0.1, "seed": (0, "fp"), "workers": 0, "device": CPU} | changes
    labels = [i % 3 for i in range(len(store))]
    return TrainingBatches(store, labels, 3, size, augmentation, **options)  # type: ignore[arg-type]


# --- listings


def test_demo_data_ships_whole_and_with_its_licence() -> None:
    listing = DataConfig("trashnet_mini").list_images()
    assert (len(listing.train), len(listing.val), len(listing.test)) == (691, 167, 229)
    assert listing.classes == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    package = Path(searcher.datasets.images.__file__).parent
    assert "Gary Thung" in (package / "trashnet_mini" / "LICENSE").read_text()


def test_labels_are_indices_into_the_sorted_class_folders(tmp_path: Path) -> None:
    listing = DataConfig("image_folder", str(image_folder(tmp_path))).list_images()
    assert listing.classes == tuple(sorted(COLOURS))
    for path, label in zip(listing.train.items, listing.train.labels, strict=True):
        assert path.parent.name == listing.classes[label]


def test_missing_val_folder_is_a_fixed_tenth_of_train(tmp_path: Path) -> None:
    listing = DataConfig("image_folder", str(image_folder(tmp_path, {"train": 20}))).list_images()
    assert (len(listing.train), len(listing.val)) == (54, 6)
    assert sorted(listing.val.labels) == [0, 0, 1, 1, 2, 2]
    assert not set(listing.train.items) & set(listing.val.items)
    with pytest.raises(InvalidInput, match="image_folder must have images in its test split, but it has none"):
        listing.split("test")


def test_validation_split_depends_on_names_alone() -> None:
    paths = [Path(f"/a/{label}_{i}.jpg") for label in range(2) for i in range(10)]
    labels = [label for label in range(2) for _ in range(10)]
    train, val = stratified(ImageList(tuple(paths), tuple(labels)))
    elsewhere = [Path("/b") / p.name for p in reversed(paths)]
    _, moved = stratified(ImageList(tuple(elsewhere), tuple(reversed(labels))))
    assert [p.name for p in val.items] == ["0_1.jpg", "1_6.jpg"]  # the lowest sha256sum of `validation split 1:NAME`
    assert {p.name for p in moved.items} == {p.name for p in val.items}
    assert len(train) == 18


@pytest.mark.parametrize("nested", [False, True])
def test_pets_are_read_from_the_official_layout_without_masks(tmp_path: Path, nested: bool) -> None:
    pets(tmp_path / "oxford-iiit-pet" if nested else tmp_path)
    listing = DataConfig("oxford_iiit_pet", str(tmp_path), download=False).list_images()
    assert (len(listing.train), len(listing.val), len(listing.test)) == (54, 6, 6)
    assert listing.classes == ("Abyssinian", "american_bulldog", "american_pit_bull_terrier")
    assert listing.test.items[0].stem == "american_pit_bull_terrier_20"
    assert listing.test.labels[0] == 2


def test_absent_pets_say_which_layout_is_expected(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"annotations/\{trainval,test\}\.txt, but they are absent") as caught:
        DataConfig("oxford_iiit_pet", str(tmp_path / "nowhere"), download=False).list_images()
    assert "http" not in str(caught.value)


def test_failed_download_is_missing_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("torchvision.datasets.OxfordIIITPet", no_network)
    with pytest.raises(MissingData, match=r"download failed \(URLError: .*name resolution.*get it with: python -c"):
        DataConfig("oxford_iiit_pet", str(tmp_path)).list_images()


def test_download_is_used_where_the_layout_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(root: str, **options: object) -> None:
        assert options["download"] is True
        pets(Path(root) / "oxford-iiit-pet")

    monkeypatch.setattr("torchvision.datasets.OxfordIIITPet", download)
    assert len(DataConfig("oxford_iiit_pet", str(tmp_path)).list_images().test) == 6


def test_image_absent_from_pets_is_named(tmp_path: Path) -> None:
    (pets(tmp_path) / "images" / "Abyssinian_3.jpg").unlink()
    with pytest.raises(InvalidInput, match=r"trainval\.txt, but 1 are absent, first Abyssinian_3\.jpg"):
        DataConfig("oxford_iiit_pet", str(tmp_path)).list_images()


@pytest.mark.parametrize("numbers", ["1 1", "x 1 1", "38 1 1", "0 1 1"])
def test_damaged_official_list_is_refused_with_its_line(tmp_path: Path, numbers: str) -> None:
    (pets(tmp_path) / "annotations" / "test.txt").write_text(f"Abyssinian_0 1 1 1\nAbyssinian_1 {numbers}\n")
    with pytest.raises(InvalidInput, match=r"test\.txt line 2 must read"):
        DataConfig("oxford_iiit_pet", str(tmp_path)).list_images()


def test_folder_without_train_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="train is not a folder; put the images there"):
        DataConfig("image_folder", str(tmp_path)).list_images()


def test_class_that_only_val_has_is_refused(tmp_path: Path) -> None:
    image_folder(tmp_path)
    write_image(tmp_path / "val" / "yellow" / "0.jpg", (200, 200, 0), 0)
    with pytest.raises(InvalidInput, match="must have the classes of train, but it also has yellow"):
        DataConfig("image_folder", str(tmp_path)).list_images()


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
    with pytest.raises(InvalidInput, match="must hold images"):
        DataConfig("image_folder", str(tmp_path)).list_images()


def test_images_that_lie_in_no_class_are_told_from_none(tmp_path: Path) -> None:
    image_folder(tmp_path)
    for split, root in (("train", tmp_path), ("test", tmp_path)):
        for place in list((root / split).glob("*/*")):
            place.rename(root / split / f"{place.parent.name}{place.name}")
        for folder in [p for p in (root / split).iterdir() if p.is_dir()]:
            folder.rmdir()
        with pytest.raises(InvalidInput, match=rf"{split} must hold one folder of images a class.*images lie directly"):
            DataConfig("image_folder", str(root)).list_images()
        image_folder(root)


def test_fingerprint_sees_changed_images_but_not_moved_ones(tmp_path: Path) -> None:
    def fingerprint(root: Path) -> str:
        return DataConfig("image_folder", str(root)).list_images().fingerprint

    first = fingerprint(image_folder(tmp_path / "a"))
    assert fingerprint(image_folder(tmp_path / "b")) == first
    write_image(tmp_path / "b" / "train" / "red" / "0.jpg", (9, 9, 9), 0, size=(20, 20))
    assert fingerprint(tmp_path / "b") != first


# --- images


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(path)
    pixels = decode(path)
    assert pixels.shape == (4, 6, 3)
    assert pixels.dtype == np.uint8
    assert pixels.min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_is_turned_upright_as_its_notes_say(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
    with Image.open(tmp_path / "image.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(decode(tmp_path / "image.png"), expected)


def test_damaged_notes_do_not_make_an_image_unreadable(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), (9, 9, 9)).save(tmp_path / "image.png", exif=b"Exif\0\0no notes at all")
    assert decode(tmp_path / "image.png").shape == (4, 6, 3)


def test_sixteen_bits_keep_their_upper_half(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255, 256, 65535]], dtype=np.uint16)).save(tmp_path / "image.png")
    assert decode(tmp_path / "image.png")[0, :, 0].tolist() == [0, 0, 1, 255]


def test_transparent_palette_is_read_without_a_warning(tmp_path: Path) -> None:
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30] * 256)
    image.save(tmp_path / "image.png", transparency=bytes([0, 128]))
    with warnings.catch_warnings(action="error"):
        assert decode(tmp_path / "image.png")[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
@pytest.mark.parametrize("cache", [False, True])
def test_unreadable_image_is_named(tmp_path: Path, content: bytes | None, cache: bool) -> None:
    path = tmp_path / "cat.jpg"
    write_image(path, (9, 9, 9), 0)
    path.write_bytes(path.read_bytes()[:700] if content is None else content)
    with pytest.raises(InvalidInput, match=r"cat\.jpg must be a readable image, but .*; restore it") as caught:
        ImageStore([path], cache)[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_named_from_workers_too(tmp_path: Path, workers: int) -> None:
    paths = sorted((image_folder(tmp_path) / "train" / "red").iterdir())
    paths[2].write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"^\S+2\.jpg must be a readable image"):
        list(batches(ImageStore(paths, cache=False), Augmentation(), workers=workers).epoch(0))


def test_images_beyond_the_limit_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((image_folder(tmp_path) / "train" / "red").iterdir())
    assert ImageStore(paths, cache=True).cached
    assert not ImageStore(paths, cache=False).cached
    monkeypatch.setattr(searcher.datasets.images, "CACHE_BYTES", len(paths) * 48 * 40 * 3 - 1)
    too_big = ImageStore(paths, cache=True)
    assert not too_big.cached
    assert np.array_equal(np.asarray(too_big[1]), decode(paths[1]))


# --- batches


def test_evaluation_resizes_by_256_over_224_and_crops_the_centre(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    write_image(path, (90, 120, 30), 0, size=(60, 48))
    images = EvaluationImages(ImageStore([path], cache=False), [1], 32, keep=True)
    [(pixels, labels)] = images.batches(CPU)
    with Image.open(path) as image:  # shorter side 48 -> 36 = 32 * 256 / 224, longer side 60 -> 45
        resized = image.convert("RGB").resize((45, 36), Image.Resampling.BICUBIC)
    cropped = torch.tensor(np.asarray(resized.crop((6, 2, 38, 34)))).permute(2, 0, 1).double() / 255
    expected = (cropped - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    assert labels.tolist() == [1]
    assert torch.allclose(pixels[0].double(), expected, atol=1e-5)


def test_evaluation_images_are_the_same_kept_or_not(tmp_path: Path) -> None:
    paths = sorted((image_folder(tmp_path) / "val" / "red").iterdir())
    store = ImageStore(paths, cache=False)
    kept = next(EvaluationImages(store, [0] * 4, 32, keep=True).batches(CPU))
    fresh = next(EvaluationImages(store, [0] * 4, 32, keep=False).batches(CPU))
    assert torch.equal(kept[0], fresh[0])


def test_every_epoch_has_another_order_and_other_crops(tmp_path: Path) -> None:
    paths = sorted((image_folder(tmp_path) / "train" / "red").iterdir())
    loader = batches(ImageStore(paths, cache=True), Augmentation())
    first, again, second = list(loader.epoch(0)), list(loader.epoch(0)), list(loader.epoch(1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], second[0][0])
    assert [a.shape for a, _ in first] == [(4, 3, 32, 32)] * 2


def test_images_that_fill_no_batch_are_left_out(tmp_path: Path) -> None:
    paths = sorted((image_folder(tmp_path) / "train" / "red").iterdir())
    assert len(batches(ImageStore(paths, cache=True), Augmentation(), batch_size=3)) == 2
    with pytest.raises(InvalidInput, match="but it is 9 of 8; use at most 8"):
        batches(ImageStore(paths, cache=True), Augmentation(), batch_size=9)


def test_targets_are_smoothed_and_mixed_into_distributions(tmp_path: Path) -> None:
    paths = sorted((image_folder(tmp_path) / "train" / "red").iterdir())
    store = ImageStore(paths, cache=True)
    _, plain = next(batches(store, Augmentation()).epoch(0))
    assert sorted(set(plain.flatten().tolist())) == pytest.approx([0.1 / 3, 0.9 + 0.1 / 3])
    _, mixed = next(batches(store, Augmentation(mixup=0.8, cutmix=1.0)).epoch(0))
    assert mixed.sum(1).tolist() == pytest.approx([1.0] * 4)
    assert len(set(mixed.flatten().tolist())) > 2


def test_whole_batch_is_erased_where_the_probability_is_one(tmp_path: Path) -> None:
    white = tmp_path / "white.png"
    Image.new("RGB", (40, 40), (255, 255, 255)).save(white)
    store = ImageStore([white] * 4, cache=True)
    normalized_white = Normalizer(CPU)(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    erased, _ = next(batches(store, Augmentation(random_erasing=1.0, random_erasing_mode="const")).epoch(0))
    changed = (erased != normalized_white).all(1).flatten(1).float().mean(1)
    assert bool(((changed > 0) & (changed < 0.5)).all())
    assert bool((erased[:, :, :][(erased != normalized_white)] == 0).all())


def test_strongest_posterize_returns_black_instead_of_failing() -> None:
    """RandAugment at level 10 keeps 0 bits; Pillow 13 refuses that by itself."""
    transform = training_transform(16, Augmentation(auto_augment="rand-m10-n1-p1.0-inc1", crop_scale=(1.0, 1.0)))
    white = Image.new("RGB", (16, 16), (255, 255, 255))
    darkest = []
    for seed in range(60):
        seed_everything(seed)
        darkest.append(int(transform(white).max()))
    assert 0 in darkest


@pytest.mark.slow
def test_whole_oxford_iiit_pet_where_it_lies_at_hand() -> None:
    if "OXFORD_IIIT_PET" not in os.environ:
        pytest.skip("set OXFORD_IIIT_PET to the folder of the real data set")
    listing = DataConfig("oxford_iiit_pet", os.environ["OXFORD_IIIT_PET"], download=False).list_images()
    assert (len(listing.train) + len(listing.val), len(listing.test), len(listing.classes)) == (3680, 3669, 37)
    assert len(ImageStore(listing.test.items, cache=True)) == 3669
