"""`searcher teacher` on tiny images: made, interrupted, used by a student, refused where it does not fit."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

import searcher.teacher_training
from bhvit.errors import InvalidInput
from searcher.cli import main
from searcher.datasets.batches import EvaluationImages
from searcher.datasets.config import DataConfig
from searcher.datasets.images import ImageStore
from searcher.datasets.listing import Listing
from searcher.executors.threads import ThreadExecutor
from searcher.preflight import check_trainable
from searcher.records import EpochRecord
from searcher.space import load_space
from searcher.teacher_file import TeacherCard, read_card, require_fit
from searcher.teacher_recipe import teacher_recipe_from, teacher_recipe_names
from searcher.teacher_start import Start
from searcher.training import train_phase
from searcher.views.training import LiveTraining
from tests.searcher.architectures import THIN, model_of
from tests.searcher.tiny_images import image_folder, write_image

MODEL, EPOCHS = "test_vit", 4
PHASE = {"epochs": 1, "learning_rate": 0.002}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("teacher")
    image_folder(root / "images")
    space_file(root / "space.yaml", root / "images")
    return root


@pytest.fixture(scope="module")
def teacher(folder: Path) -> Path:
    """A finished teacher, from random weights."""
    assert main(command(folder, "t.safetensors")) == 0
    return folder / "t.safetensors"


def space_file(path: Path, images: Path, **recipe: Any) -> Path:
    space = {
        "model": model_of(THIN),
        "recipe": {"fp": PHASE, "qat": dict(PHASE), "batch_size": 8, **recipe},
        "data": {"name": "image_folder", "root": str(images)},
        "search": {"threads": 1},
    }
    path.write_text(yaml.safe_dump(space))
    return path


def command(folder: Path, out: str, *more: str, scratch: bool = True) -> list[str]:
    start = ["--scratch"] if scratch and "--checkpoint" not in more else []
    sizes = ["--epochs", str(EPOCHS), "--batch-size", "8"]
    return ["teacher", str(folder / "space.yaml"), "--model", MODEL, *sizes, "--out", str(folder / out), *start, *more]


def listing(images: Path) -> Listing:
    return DataConfig("image_folder", str(images)).list_images()


def card_of(path: Path) -> TeacherCard:
    card = read_card(path)
    assert card is not None
    return card


def same_weights(a: Path, b: Path) -> bool:
    ours, theirs = load_file(a), load_file(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_file_carries_what_it_was_trained_on(folder: Path, teacher: Path) -> None:
    card, data = card_of(teacher), listing(folder / "images")
    assert (card.format, card.model, card.image_size, card.classes) == (1, MODEL, 96, ("blue", "green", "red"))
    assert (card.data, card.fingerprint, card.seed, card.origin) == (
        "image_folder",
        data.fingerprint,
        0,
        "random weights",
    )
    assert card.recipe["phase"]["epochs"] == EPOCHS
    assert 1 <= card.epoch <= EPOCHS
    assert card.tool.startswith("bhvit-searcher ")
    plain = timm.create_model(MODEL, num_classes=3, img_size=96)
    plain.load_state_dict(load_file(teacher))  # under timm's own names
    assert not list(folder.glob("*.unfinished"))


def test_kept_weights_have_the_accuracy_that_the_file_states(folder: Path, teacher: Path) -> None:
    val = listing(folder / "images").val
    plain = timm.create_model(MODEL, num_classes=3, img_size=96).eval()
    plain.load_state_dict(load_file(teacher))
    images = EvaluationImages(ImageStore(val.items, cache=False), val.labels, 96, keep=False)
    ((pixels, labels),) = images.batches(torch.device("cpu"))
    mean, std = (torch.tensor(plain.pretrained_cfg[k]).view(3, 1, 1) for k in ("mean", "std"))
    imagenet = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        right = plain((pixels * imagenet[1] + imagenet[0] - mean) / std).argmax(1) == labels
    assert float(right.double().mean()) == pytest.approx(card_of(teacher).accuracy)


def test_output_ends_with_accuracy_and_the_line_to_paste(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder, "shown.safetensors", "--epochs", "4")) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].endswith(f"on image_folder at 96 px, from random weights, to {folder / 'shown.safetensors'}")
    assert [line.split(" ", 1)[1].split(":")[0] for line in out[1:5]] == [f"epoch {e} of 4" for e in (1, 2, 3, 4)]
    assert all("left" in line for line in out[1:5])
    assert "% Top-1 on the validation split (epoch" in out[5]
    assert out[-1] == f"  recipe: {{base: pets, teacher: {folder / 'shown.safetensors'}}}"


def test_time_left_is_estimated_from_what_this_run_trained() -> None:
    """Going on after epoch 6 of 10: 30 s from the first quarter of the seventh to its end, so 120 s for three more."""
    now, shown = [0.0], io.StringIO()
    live = LiveTraining(Console(file=shown, width=100), 10, clock=lambda: now[0])
    now[0] = 100.0  # seconds of reading images
    live.on_step("teacher", 7, 1, 4)
    now[0] = 130.0
    live.on_epoch(EpochRecord("teacher", 7, 10, 1.5, 1.4, 0.625, 30.0))
    last = shown.getvalue().splitlines()[-1]
    assert last[9:] == "epoch 7 of 10: loss 1.500, Top-1 62.5 %; 2 min 10 s elapsed, about 2 min 00 s left"


def test_interrupted_teacher_goes_on_to_the_same_bits(
    folder: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any) -> Any:
        *first, report, progress = args

        def stop_in_epoch_3(phase: str, epoch: int, step: int, steps: int) -> None:
            progress(phase, epoch, step, steps)
            if epoch == 3:
                raise KeyboardInterrupt

        return train_phase(*first, report, stop_in_epoch_3)

    with monkeypatch.context() as patch:
        patch.setattr(searcher.teacher_training, "train_phase", interrupted)
        assert main(command(folder, "parts.safetensors")) == 130
    assert "Interrupted; nothing is lost" in capsys.readouterr().out
    assert not (folder / "parts.safetensors").exists()
    assert main(command(folder, "parts.safetensors", "--epochs", "5")) == 2
    assert "it holds 2 epochs of training" in capsys.readouterr().err
    assert main(command(folder, "parts.safetensors")) == 0
    out = capsys.readouterr().out
    assert "going on after epoch 2 of 4" in out
    assert "epoch 2 of 4:" not in out
    assert same_weights(teacher, folder / "parts.safetensors")
    parts, whole = card_of(folder / "parts.safetensors"), card_of(teacher)
    assert dataclasses.replace(parts, date=whole.date) == whole


def test_finished_teacher_is_left_alone(folder: Path, teacher: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = teacher.stat().st_mtime_ns
    assert main(command(folder, "t.safetensors")) == 0
    assert "Top-1 on the validation split" in capsys.readouterr().out
    assert main(command(folder, "t.safetensors", "--seed", "1")) == 2
    assert "must be absent or the same teacher, but it is another one" in capsys.readouterr().err
    save_file({"w": torch.zeros(1)}, folder / "foreign.safetensors")
    assert main(command(folder, "foreign.safetensors")) == 2
    assert "but it holds other weights; choose another --out." in capsys.readouterr().err
    assert teacher.stat().st_mtime_ns == before


@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_checkpoint_keeps_its_body_and_gets_a_new_head(
    folder: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a learning rate of almost 0 the weights after an epoch are the initial ones."""
    torch.manual_seed(3)
    donor = timm.create_model(MODEL, num_classes=7)  # for 160 px: its position embedding is adapted to 96 px
    path = tmp_path / f"donor.{form}"
    torch.save(donor.state_dict(), path) if form == "pth" else save_model(donor, str(path))
    recipe = {"phase": {"epochs": 1, "learning_rate": 1e-12, "min_learning_rate": 0.0, "warmup_learning_rate": 0.0}}
    (tmp_path / "still.yaml").write_text(yaml.safe_dump({**recipe, "batch_size": 8}))
    out = tmp_path / "t.safetensors"
    more = ["--checkpoint", str(path), "--recipe", str(tmp_path / "still.yaml"), "--epochs", "1", "--out", str(out)]
    assert main(command(folder, "unused", *more)) == 0
    assert "new head of 3 classes, randomly initialised: the weights have one of 7" in capsys.readouterr().out
    ours, theirs = load_file(out), donor.state_dict()
    assert ours["head.weight"].shape[0] == 3
    assert ours["pos_embed"].shape[1] < theirs["pos_embed"].shape[1]
    body = [name for name in ours if not name.startswith("head") and name != "pos_embed"]
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-8) for name in body)
    assert card_of(out).origin.startswith(f"donor.{form} (sha256 ")


def test_checkpoint_of_the_same_classes_keeps_its_head(folder: Path, teacher: Path, tmp_path: Path) -> None:
    said: list[str] = []
    model = Start(MODEL, 96, teacher).build(3, said.append)
    assert said == []
    assert all(torch.equal(tensor, load_file(teacher)[name]) for name, tensor in model.state_dict().items())


def test_without_network_the_error_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert main(command(folder, "none.safetensors", scratch=False)) == 2
    message = capsys.readouterr().err
    assert f"timm's pretrained weights of {MODEL} must be in the cache or fetched, but" in message
    assert f"--checkpoint {MODEL}.safetensors, or start from random weights with --scratch." in message
    assert len(message.splitlines()) == 1
    assert not list(folder.glob("none*"))
    code = message.split('python -c "')[1].split('"')[0].replace("pretrained=True", "pretrained=False")
    monkeypatch.chdir(tmp_path)
    exec(code)  # the command that it gives works
    assert (tmp_path / f"{MODEL}.safetensors").exists()


def test_student_learns_from_the_file_without_more_words(
    folder: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`teacher_model` and `teacher_image_size` come from the file; the teacher sees every batch of both phases."""
    seen: list[torch.Size] = []
    forward = timm.models.VisionTransformer.forward

    def counted(self: Any, x: Tensor, *more: Any) -> Tensor:
        seen.append(x.shape)
        return forward(self, x, *more)

    monkeypatch.setattr(timm.models.VisionTransformer, "forward", counted)
    in_threads = lambda trains, names, pool: ThreadExecutor(trains[0])  # noqa: E731 - where the count is kept
    monkeypatch.setattr("searcher.commands.executors.ProcessExecutor", in_threads)
    space = space_file(tmp_path / "student.yaml", folder / "images", teacher=str(teacher))
    assert main(["train", str(space), "--runs", str(tmp_path / "runs")]) == 0
    assert seen == [(8, 3, 96, 96)] * 6


def changed(images: Path, to: Path, change: str) -> Path:
    """A copy of the images with another listing."""
    shutil.copytree(images, to)
    if change == "fourth class":
        for split in ("train", "val"):
            write_image(to / split / "violet" / "0.jpg", (150, 50, 180), seed=7)
    elif change == "other class":
        for split in ("train", "val", "test"):
            (to / split / "green").rename(to / split / "grey")
    elif change == "train image in test":
        shutil.copy(to / "train" / "red" / "3.jpg", to / "test" / "red" / "renamed.jpg")
    elif change == "train image in val":
        (to / "train" / "red" / "3.jpg").rename(to / "val" / "red" / "moved.jpg")
    elif change == "one image less":
        (to / "train" / "red" / "3.jpg").unlink()
    return to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "fourth class",
            r"must have the data set's 4 classes, but .*t\.safetensors has 3 \(of image_folder\); fine-tune",
        ),
        ("other class", r"in their order, but class 1 of image_folder is 'grey' and that of .* is 'green'"),
        ("train image in test", r"has seen 0 of the 12 val and 1 of the 13 test images of image_folder"),
        ("train image in val", r"has seen 1 of the 13 val and 0 of the 12 test images of image_folder"),
    ],
)
def test_teacher_that_does_not_fit_the_images_is_refused(
    folder: Path, teacher: Path, tmp_path: Path, change: str, message: str
) -> None:
    images = changed(folder / "images", tmp_path / "images", change)
    with pytest.raises(InvalidInput, match=message) as refusal:
        require_fit(card_of(teacher), teacher, listing(images))
    assert "fine-tune one on" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("change", ["none", "one image less"])
def test_teacher_of_another_listing_fits_where_no_judging_image_was_learned(
    folder: Path, teacher: Path, tmp_path: Path, change: str
) -> None:
    require_fit(card_of(teacher), teacher, listing(changed(folder / "images", tmp_path / "images", change)))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"teacher_model": "resnet18"}, r"teacher_model must be that of .*, but they are resnet18 and test_vit; leave"),
        ({"teacher_image_size": 224}, r"teacher_image_size must be that of .*, but they are 224 and 96; leave"),
    ],
)
def test_search_with_a_contradicting_recipe_writes_nothing(
    folder: Path, teacher: Path, tmp_path: Path, recipe: dict[str, Any], message: str
) -> None:
    space = load_space(space_file(tmp_path / "s.yaml", folder / "images", teacher=str(teacher), **recipe))
    with pytest.raises(InvalidInput, match=message):
        check_trainable(space)


def test_search_with_a_teacher_of_other_classes_writes_nothing(
    folder: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = changed(folder / "images", tmp_path / "images", "other class")
    space = space_file(tmp_path / "s.yaml", images, teacher=str(teacher))
    assert main(["train", str(space), "--runs", str(tmp_path / "runs")]) == 2
    assert "class 1 of image_folder is 'grey'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_file_of_a_later_format_is_refused(teacher: Path, tmp_path: Path) -> None:
    data = dataclasses.asdict(card_of(teacher)) | {"format": 2, "new": 1}
    path = tmp_path / "later.safetensors"
    save_file({"w": torch.zeros(1)}, path, {"teacher": json.dumps(data), "trained_on": ""})
    with pytest.raises(InvalidInput, match="must be of format 1, but it is of format 2; make it again"):
        read_card(path)


def wrong_inputs() -> Iterator[Any]:
    yield (
        ["--model", "deit_tny_patch16_224"],
        "unknown timm model 'deit_tny_patch16_224' (did you mean 'deit_tiny_patch16",
    )
    yield ["--checkpoint", "absent.pth"], "expected in absent.pth, but there is no such file"
    yield ["--scratch", "--checkpoint", "x.pth"], "not allowed with argument"
    yield ["--recipe", "pet"], "unknown teacher recipe 'pet' (did you mean 'pets'?); use one of: FILE.yaml, pets."
    yield ["--recipe", "absent.yaml"], "absent.yaml must be a readable file"
    yield ["--epochs", "0"], "epochs must be at least 1, but it is 0"
    yield ["--batch-size", "64"], "batch_size must be at most the number of training images, but it is 64 of 24"
    yield ["--batch-size", "7"], "batch_size must be even"
    yield ["--out", "t.pth"], "--out must end in .safetensors, but it is t.pth; use t.safetensors."
    yield ["--device", "tpu"], "device must be auto, cpu, cuda or cuda:N"


@pytest.mark.parametrize(
    ("arguments", "message"), list(wrong_inputs()), ids=lambda v: " ".join(v) if isinstance(v, list) else ""
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder, "wrong.safetensors", *arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(folder.glob("wrong*"))


def test_checkpoint_of_another_model_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(timm.create_model("test_resnet"), str(tmp_path / "r.safetensors"))
    assert main(command(folder, "wrong.safetensors", "--checkpoint", str(tmp_path / "r.safetensors"))) == 2
    assert "r.safetensors must hold the weights of test_vit, but" in capsys.readouterr().err


def test_recipe_file_replaces_some_values_of_the_published_one(tmp_path: Path) -> None:
    published = teacher_recipe_from("pets")
    path = tmp_path / "mine.yaml"
    path.write_text("{base: pets, batch_size: 32, phase: {epochs: 20}}")
    expected = dataclasses.replace(published, batch_size=32, phase=dataclasses.replace(published.phase, epochs=20))
    assert teacher_recipe_from(str(path)) == expected
    assert teacher_recipe_names() == ("pets",)
