"""CIFAR, Imagenette and Hugging Face sets through torchvision and timm, and what is said where they are missing."""

from __future__ import annotations

import functools
import io
import json
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets.cifar
from PIL import Image

from bhvit.errors import InvalidInput
from searcher.cli import main
from searcher.datasets import cifar, huggingface
from searcher.datasets.batches import TrainingBatches
from searcher.datasets.config import DATASETS, DataConfig
from searcher.datasets.images import ImageStore, decode
from searcher.datasets.sources import SourceImage
from searcher.outcomes import MissingData
from searcher.pipeline import train_candidate
from searcher.recipe import Augmentation
from tests.searcher.test_pipeline import BINARY
from tests.searcher.tiny_images import COLOURS, small_recipe, write_image

NAMES = ["airplane", "automobile", "bird"]
WNIDS = ["n01440764", "n02102040"]


# --- the sets as their publishers lay them out, small


def cifar_files(folder: Path, name: str, per_file: int = 12) -> Path:
    """The official pickles with three classes told apart by colour; images are rows of 1024 red, green, blue values."""
    key, files, meta = {
        "cifar10": ("labels", [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"], "batches.meta label_names"),
        "cifar100": ("fine_labels", ["train", "test"], "meta fine_label_names"),
    }[name]
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        labels = [(i + number) % 3 for i in range(per_file)]
        noise = np.random.default_rng(number).normal(0, 20, (per_file, 3, 1024))
        colours = np.array(list(COLOURS.values()))[labels][:, :, None]
        data = np.clip(noise + colours, 0, 255).astype(np.uint8).reshape(per_file, 3072)
        (folder / file).write_bytes(pickle.dumps({"data": data, key: labels, "coarse_labels": [9] * per_file}))
    meta_file, meta_key = meta.split()
    (folder / meta_file).write_bytes(pickle.dumps({meta_key: NAMES}))
    return folder


@pytest.fixture
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's check with the MD5 sums taken out of it."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: Path(path).is_file())


def imagenette(root: Path, folder: str = "imagenette2-320") -> Path:
    for split, count in (("train", 20), ("val", 3)):
        for k, wnid in enumerate(WNIDS):
            for i in range(count):
                write_image(root / folder / split / wnid / f"{split}_{wnid}_{i}.JPEG", (k * 90, 90, 90), seed=i)
    return root


class FakeTable:
    """What timm's ReaderHfds uses of a `datasets.Dataset`."""

    def __init__(self, split: str, labels: list[Any], names: list[str] | None, image: str = "image") -> None:
        self._fingerprint = f"print of {split}"
        self._labels, self._image = labels, image
        self.column_names = [image, "label"]
        features = {} if names is None else {"label": types.SimpleNamespace(names=names)}
        self.info = types.SimpleNamespace(features=features, splits=None)

    def cast_column(self, column: str, feature: object) -> FakeTable:
        if column != self._image:
            raise KeyError(column)
        return self

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return {"label": self._labels}[key]
        file = io.BytesIO()
        Image.new("RGB", (8 + key, 8), (key, 0, 0)).save(file, "PNG")
        return {self._image: {"bytes": file.getvalue(), "path": None}, "label": self._labels[key]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """A stand-in for the package `datasets`, read by timm's real reader; call it with the splits there are."""
    fake: Any = types.ModuleType("datasets")
    fake.Image = lambda decode: None
    fake.asked = []

    def publish(splits: dict[str, FakeTable]) -> Any:
        def load_dataset(path: str, split: str, cache_dir: str, **options: object) -> FakeTable:
            fake.asked.append((path, split, cache_dir))
            if split not in splits:
                raise ValueError(f'Unknown split "{split}". Should be one of {list(splits)}.')
            return splits[split]

        fake.load_dataset = load_dataset
        return fake

    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    huggingface._listed.cache_clear()
    yield publish
    sys.modules.pop("timm.data.readers.reader_hfds", None)
    huggingface._listed.cache_clear()


# --- what was there before is the same


def placeholder(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_earlier_data_sets_keep_their_validation_images_and_fingerprints(tmp_path: Path) -> None:
    """Recorded before images could be anything but files: parents of earlier studies are found by these."""
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for label, (insect, breed) in enumerate((("ant", "Abyssinian"), ("bee", "beagle")), start=1):
        for i in range(30):
            placeholder(tmp_path / "insects" / "train" / insect / f"{insect}_{i}.jpg", 10 + i)
        for i in range(5):
            placeholder(tmp_path / "insects" / "test" / insect / f"{insect}_{i}.jpg", 10 + i)
        for i in range(40):
            placeholder(tmp_path / "pets" / "images" / f"{breed}_{i}.jpg", 10 + i)
            lists["trainval" if i < 30 else "test"].append(f"{breed}_{i} {label} 1 1")
    (tmp_path / "pets" / "annotations").mkdir()
    for split, rows in lists.items():
        (tmp_path / "pets" / "annotations" / f"{split}.txt").write_text("\n".join(rows) + "\n")
    folder = DataConfig("image_folder", str(tmp_path / "insects")).list_images()
    pets = DataConfig("oxford_iiit_pet", str(tmp_path / "pets")).list_images()
    demo = DataConfig("trashnet_mini").list_images()
    assert (folder.fingerprint, folder.val.digest) == ("c4023ce4e10e23cd", "fbedac9b52bea4d3")
    assert (pets.fingerprint, pets.val.digest) == ("08b0a28dd7bd8ffc", "e22135fa3c0f216c")
    assert (demo.fingerprint, demo.val.digest) == ("c5d9e979a03f9f67", "3251cf1cd8cd8f65")


# --- CIFAR


@pytest.mark.usefixtures("any_checksum")
@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
@pytest.mark.parametrize("nested", [True, False])
def test_cifar_has_the_official_splits_labels_and_pixels(tmp_path: Path, name: str, folder: str, nested: bool) -> None:
    files = cifar_files(tmp_path / folder if nested else tmp_path / "mine", name, per_file=30)
    listing = DataConfig(name, str(tmp_path if nested else files), download=False).list_images()
    official = 150 if name == "cifar10" else 30
    held_out = 15 if name == "cifar10" else 3
    assert (len(listing.train), len(listing.val), len(listing.test)) == (official - held_out, held_out, 30)
    assert listing.classes == tuple(NAMES)
    assert [listing.val.labels.count(label) for label in range(3)] == [held_out // 3] * 3
    assert {item.name for item in listing.test.items} == {f"test/{i:05d}" for i in range(30)}
    last = pickle.loads((files / ("test_batch" if name == "cifar10" else "test")).read_bytes())
    for item, label in zip(listing.test.items[:3], listing.test.labels, strict=False):
        assert isinstance(item, SourceImage)
        assert np.array_equal(decode(item)[:, :, 2].ravel(), last["data"][item.index][2048:])  # blue is the third plane
        assert label == last["labels" if name == "cifar10" else "fine_labels"][item.index]


@pytest.mark.usefixtures("any_checksum")
def test_cifar_is_the_same_in_every_process_and_in_memory_once(tmp_path: Path) -> None:
    cifar_files(tmp_path / "a" / "cifar-10-batches-py", "cifar10")
    cifar_files(tmp_path / "b" / "cifar-10-batches-py", "cifar10")
    first = DataConfig("cifar10", str(tmp_path / "a")).list_images()
    assert DataConfig("cifar10", str(tmp_path / "a")).list_images() is first
    elsewhere = DataConfig("cifar10", str(tmp_path / "b")).list_images()
    assert (elsewhere.fingerprint, elsewhere.val.digest) == (first.fingerprint, first.val.digest)
    assert elsewhere.train == first.train
    assert hash(elsewhere.train) == hash(first.train)
    assert pickle.loads(pickle.dumps(first.train)) == first.train
    store = ImageStore(first.train.items, cache=True)
    assert store._pixels is not None
    assert all(pixels.base is not None for pixels in store._pixels)  # views, not copies


@pytest.mark.usefixtures("any_checksum")
def test_other_pixels_are_another_data_set(tmp_path: Path) -> None:
    files = cifar_files(tmp_path / "a", "cifar10")
    first = DataConfig("cifar10", str(files)).list_images().fingerprint
    batch = pickle.loads((files / "data_batch_1").read_bytes())
    batch["data"][0, 0] ^= 1
    (files / "data_batch_1").write_bytes(pickle.dumps(batch))
    cifar._loaded.cache_clear()
    assert DataConfig("cifar10", str(files)).list_images().fingerprint != first


def test_no_pickle_but_the_official_one_is_loaded(tmp_path: Path) -> None:
    files = cifar_files(tmp_path / "cifar-10-batches-py", "cifar10")
    bomb = tmp_path / "exploded"
    (files / "batches.meta").write_bytes(b"cpathlib\nPath.touch\n(cpathlib\nPath\n(V" + str(bomb).encode() + b"\ntRtR.")
    with pytest.raises(InvalidInput, match=r"must hold the official files of cifar10, .* other MD5 sums; delete"):
        DataConfig("cifar10", str(tmp_path), download=False).list_images()
    assert not bomb.exists()


@pytest.mark.usefixtures("any_checksum")
def test_loader_processes_give_the_batches_of_none(tmp_path: Path) -> None:
    listing = DataConfig("cifar10", str(cifar_files(tmp_path / "c", "cifar10"))).list_images()
    epochs = []
    for workers in (0, 2):
        batches = TrainingBatches(
            ImageStore(listing.train.items, cache=workers == 0),
            listing.train.labels,
            3,
            32,
            Augmentation(),
            batch_size=16,
            smoothing=0.0,
            seed=(0, "fp"),
            workers=workers,
            device=torch.device("cpu"),
        )
        epochs.append(list(batches.epoch(0)))
    assert all(torch.equal(a, b) for one, two in zip(*epochs, strict=True) for a, b in zip(one, two, strict=True))


@pytest.mark.usefixtures("any_checksum")
def test_candidate_is_trained_on_cifar(tmp_path: Path) -> None:
    data = DataConfig("cifar10", str(cifar_files(tmp_path / "c", "cifar10")), download=False)
    phase = {"epochs": 1, "learning_rate": 0.002}
    metrics = train_candidate(
        BINARY,
        small_recipe(fp=phase, qat=phase),
        data,
        directory=tmp_path / "trial",
        warm_starts=tmp_path / "parents",
        seed=0,
        device="cpu",
        threads=1,
        report=lambda record: False,
    )
    assert [record.phase for record in metrics.epochs] == ["fp", "qat"]


# --- Imagenette


def test_imagenette_has_readable_names_and_its_validation_images_are_the_test(tmp_path: Path) -> None:
    data = DataConfig("imagenette", str(imagenette(tmp_path)), download=False)
    listing = data.list_images()
    assert data.size == "320px"
    assert listing.classes == ("tench", "English springer")
    assert (len(listing.train), len(listing.val), len(listing.test)) == (36, 4, 6)
    assert all(item.name.startswith("val_") for item in listing.test.items)
    itself = DataConfig("imagenette", str(tmp_path / "imagenette2-320"), download=False).list_images()
    assert itself.fingerprint == listing.fingerprint


def test_every_size_of_imagenette_has_the_same_validation_images(tmp_path: Path) -> None:
    imagenette(imagenette(tmp_path), "imagenette2-160")
    digests = {DataConfig("imagenette", str(tmp_path), size=s).list_images().val.digest for s in ("160px", "320px")}
    assert len(digests) == 1


def test_folder_that_is_no_class_of_imagenette_is_refused(tmp_path: Path) -> None:
    write_image(imagenette(tmp_path) / "imagenette2-320" / "train" / "n00000001" / "0.JPEG", (9, 9, 9), 0)
    with pytest.raises(InvalidInput, match=r"each of Imagenette's WordNet ids, but it does not .*n00000001"):
        DataConfig("imagenette", str(tmp_path)).list_images()


# --- Hugging Face


def test_hub_data_set_has_its_class_names_and_a_tenth_for_validation(tmp_path: Path, hub) -> None:
    tables = {"train": FakeTable("train", [1, 0] * 20, ["cat", "dog"]), "test": FakeTable("test", [1], ["cat", "dog"])}
    fake = hub(tables)
    data = DataConfig("huggingface", str(tmp_path), path="user/pets")
    listing = data.list_images()
    assert (len(listing.train), len(listing.val), len(listing.test)) == (36, 4, 1)
    assert listing.classes == ("cat", "dog")
    assert listing.test.labels == (1,)
    assert fake.asked == [("user/pets", "train", str(tmp_path)), ("user/pets", "test", str(tmp_path))]
    for item, label in zip(listing.val.items, listing.val.labels, strict=True):
        assert isinstance(item, SourceImage)
        assert decode(item).shape == (8, 8 + item.index, 3)
        assert label == [1, 0][item.index % 2]
    assert data.list_images() is listing  # the hub is asked once


def test_given_validation_split_and_text_labels_are_used(tmp_path: Path, hub) -> None:
    hub({split: FakeTable(split, ["wolf", "ape"], None, image="img") for split in ("train", "validation", "held")})
    data = DataConfig(
        "huggingface", str(tmp_path), path="x", image_key="img", val_split="validation", test_split="held"
    )
    listing = data.list_images()
    assert listing.classes == ("ape", "wolf")
    assert [item.name for item in listing.val.items] == ["validation/00000", "validation/00001"]
    assert listing.test.labels == (1, 0)


def test_hidden_labels_of_a_test_split_are_refused(tmp_path: Path, hub) -> None:
    hub({"train": FakeTable("train", [0, 1], ["a", "b"]), "test": FakeTable("test", [-1], ["a", "b"])})
    with pytest.raises(InvalidInput, match=r"split test also has -1 \(-1 stands for no label\); choose another split"):
        DataConfig("huggingface", str(tmp_path), path="x").list_images()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_split": "hidden"},
            r"failed \(ValueError: Unknown split .hidden.*python -c 'from datasets import load_d",
        ),
        ({"image_key": "img"}, r"a column img on the hub .* failed \(KeyError"),
        ({"label_key": "breed"}, r"label_key must be a column of x, but it is 'breed'; its columns are image, label\."),
        ({"test_split": "train"}, "the splits of data set huggingface must differ, but they are train, train"),
    ],
)
def test_what_a_hub_data_set_lacks_is_named(tmp_path: Path, hub, options: dict[str, str], message: str) -> None:
    hub({split: FakeTable(split, [0, 1], ["a", "b"]) for split in ("train", "test")})
    with pytest.raises(InvalidInput, match=message):
        DataConfig("huggingface", str(tmp_path), path="x", **options).list_images()  # type: ignore[arg-type]


def test_absent_package_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # import raises
    with pytest.raises(InvalidInput, match=r'the package datasets, .*: pip install "bhvit-searcher\[hf\]"$'):
        DataConfig("huggingface", str(tmp_path), path="x").list_images()


# --- missing data, options, the command


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("oxford_iiit_pet", 'OxfordIIITPet; OxfordIIITPet("{root}", split="trainval", download=True)'),
        ("cifar10", 'CIFAR10; CIFAR10("{root}", download=True)'),
        ("cifar100", 'CIFAR100; CIFAR100("{root}", download=True)'),
        ("imagenette", 'Imagenette; Imagenette("{root}", size="320px", download=True)'),
    ],
)
def test_missing_data_ends_with_the_command_to_get_it(tmp_path: Path, name: str, code: str) -> None:
    root = tmp_path / "it's here"
    with pytest.raises(MissingData, match=f"data set {name} expects .*it's here/.*data.download is false") as caught:
        DataConfig(name, str(root), download=False).list_images()
    command = str(caught.value).partition("get it with: ")[2]
    script = f"python() {{ printf '%s' \"$2\"; }}; {command}"
    shown = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == f"from torchvision.datasets import {code.format(root=root)}"
    assert not root.exists()


def test_killed_download_is_not_taken_for_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(root: str, **options: object) -> None:
        imagenette(Path(root))
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.Imagenette", killed)
    data = functools.partial(DataConfig, "imagenette", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        data().list_images()
    for download in (True, False):
        with pytest.raises(InvalidInput, match=r"its download was interrupted; delete the folder and .*get it with"):
            data(download=download).list_images()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"name": "cifar10", "root": "x", "size": "160px"},
            "size is a key of data set imagenette, but the data set is",
        ),
        ({"name": "imagenette", "root": "x", "size": "160"}, "unknown size '160'.*did you mean '160px'"),
        ({"name": "huggingface", "root": "x"}, "path must be given for data set huggingface"),
        ({"name": "huggingface", "root": "x", "path": "y", "val_split": ""}, "val_split must not be empty"),
    ],
)
def test_keys_of_another_data_set_are_refused(keys: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        DataConfig(**keys)  # type: ignore[arg-type]


def test_defaults_that_decide_which_images_are_part_of_the_question() -> None:
    assert DataConfig("imagenette", "d") == DataConfig("imagenette", "d", size="320px")
    assert DataConfig("imagenette", "d").identity == {"name": "imagenette", "root": "d", "size": "320px"}
    assert DataConfig("oxford_iiit_pet", "d").identity == {"name": "oxford_iiit_pet", "root": "d"}


def test_data_command_lists_and_describes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in DATASETS)
    imagenette(tmp_path)
    assert main(["data", "imagenette", "--root", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"]["train"] == {"images": 36, "per_class": [18, 18], "measured": 36, "shorter_side": [40] * 3}
    assert main(["data", "imagenette", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "imagenette: 2 classes" in out
    assert f"validation split {found['validation_digest']}, data set {found['fingerprint']}" in out


def test_data_command_refuses_what_it_would_ignore(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "search_spaces/demo.yaml", "--root", "x"]) == 2
    assert "--root and --set belong to the name of a data set" in capsys.readouterr().err
    assert main(["data", "cifar11"]) == 2
    assert "did you mean 'cifar10'?" in capsys.readouterr().err
