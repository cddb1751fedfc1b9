"""`searcher deploy` on a really trained (small) study: what it writes, what it refuses, and nothing half done."""

import json
import shutil
from pathlib import Path

import onnx
import onnxruntime
import pytest
import yaml

from bhvit.families import DEFAULT_FAMILY
from bhvit.runtime import load
from bhvit.runtime.families import PACKED_FAMILIES
from searcher import deployment
from searcher.checkpoint_files import BEST, WARM_STARTS
from searcher.cli import main
from searcher.numbers import size_text
from tests.searcher.architectures import THIN, model_of
from tests.searcher.screens import screen
from tests.searcher.tiny_images import COLOURS, image_folder

FILES = ["model.onnx", "model-int8-weights.onnx", "model-qdq.onnx", "model.bhvit"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with images, a space file of two configurations, and a study of one of them, trained."""
    root = tmp_path_factory.mktemp("deploy")
    image_folder(root / "images")
    phase = {"epochs": 1, "learning_rate": 0.002}
    space = {
        "model": model_of(THIN),
        "precision": {"groups": [{"layers": "downsample*", "choices": ["binary", "fp16"]}]},
        "search": {"trials": 1, "seed": 0, "threads": 1},
        "recipe": {"fp": phase, "qat": dict(phase), "batch_size": 8},
        "data": {"name": "image_folder", "root": str(root / "images")},
    }
    (root / "space.yaml").write_text(yaml.safe_dump(space))
    arguments = ["train", str(root / "space.yaml"), "--runs", str(root / "runs"), "--study", "study"]
    assert main([*arguments, "--set", "downsample*=fp16", "--device", "cpu"]) == 0
    return root


def deploy(root: Path, out: Path, *more: str, study: bool = True) -> int:
    which = [str(root / "runs" / "study"), "0"] if study else []
    return main(["deploy", *which, "--out", str(out), "--images", "6", "--calibration", "8", *more])


@pytest.fixture(scope="module")
def deployed(root) -> Path:
    """All files of the trial."""
    assert deploy(root, root / "out") == 0
    return root / "out"


def test_all_formats_are_written_and_nothing_else(deployed) -> None:
    assert sorted(p.name for p in deployed.iterdir()) == sorted(FILES)
    sizes = {name: (deployed / name).stat().st_size for name in FILES}
    assert sizes["model.bhvit"] < sizes["model-int8-weights.onnx"] < sizes["model.onnx"]


@pytest.mark.parametrize("family", list(PACKED_FAMILIES)[1:])
def test_candidates_of_every_family_that_the_runtime_runs_are_deployed(family: str, root, tmp_path) -> None:
    space = yaml.safe_load((root / "space.yaml").read_text())
    space["model"]["family"] = family
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    study, out = tmp_path / "runs" / "study", tmp_path / "out"
    arguments = ["train", str(tmp_path / "space.yaml"), "--runs", str(study.parent), "--study", study.name]
    assert main([*arguments, "--set", "downsample*=fp16", "--device", "cpu"]) == 0
    assert main(["deploy", str(study), "0", "--out", str(out), "--images", "6", "--calibration", "8"]) == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    assert load(out / "model.bhvit").header.family.name == family


def test_every_file_knows_the_classes_of_the_data(deployed) -> None:
    for name in FILES[:3]:
        found = onnxruntime.InferenceSession(str(deployed / name)).get_modelmeta().custom_metadata_map
        assert json.loads(found["classes"]) == sorted(COLOURS)
        assert found["searcher_version"]
    assert load(deployed / "model.bhvit").classes == tuple(sorted(COLOURS))


def test_json_has_every_file_with_its_check(root, deployed, capsys) -> None:
    capsys.readouterr()
    assert deploy(root, deployed, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["view"], found["real_images"], found["float32"]["images"]) == ("deploy", 6, 14)
    assert [Path(row["file"]).name for row in found["files"]] == FILES
    for row in found["files"]:
        assert row["bytes"] == (deployed / Path(row["file"]).name).stat().st_size
        assert row["images"] == (14 if row["exact"] else 6)
        assert 0 <= row["median"] <= row["largest"]
        assert 0 <= row["equal"] <= row["images"]
        assert row["exact"] == ("qdq" not in row["file"])


def test_the_same_model_again_changes_nothing_and_says_what_to_do_next(root, deployed, capsys) -> None:
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in deployed.iterdir()}
    assert deploy(root, deployed) == 0
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in deployed.iterdir()} == before
    out = capsys.readouterr().out
    assert out.startswith(f"{DEFAULT_FAMILY}  C ")
    assert "\x1b" not in out
    assert (out.count("unchanged, checked"), out.count("unchanged, deviates on purpose")) == (3, 1)
    assert f"python -m bhvit.runtime {deployed}/model.bhvit image.jpg" in out
    assert f"bench {' '.join(str(deployed / name) for name in FILES)}" in out


def test_the_table_keeps_names_whole_at_80_columns(root, deployed) -> None:
    arguments = ["deploy", str(root / "runs" / "study"), "0", "--out", str(deployed)]
    lines = screen(*arguments, "--images", "6", "--calibration", "8", width=80).splitlines()
    assert f"in {deployed}:" in lines
    for name in FILES:
        assert sum(line.startswith(f"{name} ") for line in lines) == 1
    assert max(len(line) for line in lines if not line.startswith(("in ", "  "))) <= 80


def test_the_packed_file_stands_beside_the_complete_cost(root, deployed, tmp_path, capsys) -> None:
    capsys.readouterr()
    assert deploy(root, deployed, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    size = (deployed / "model.bhvit").stat().st_size
    assert data["packed_excess"] == pytest.approx(size / data["complete_bytes"] - 1)
    assert deploy(root, deployed) == 0
    out = capsys.readouterr().out
    assert (
        f"model.bhvit: complete cost {size_text(data['complete_bytes'])}, file {data['packed_excess']:+.1%}".replace(
            "%", " %"
        )
        in out
    )
    assert deploy(root, tmp_path, "--format", "onnx", "--json") == 0
    assert json.loads(capsys.readouterr().out)["packed_excess"] is None


def test_files_that_an_earlier_call_left_there_are_named(root, tmp_path, capsys) -> None:
    (tmp_path / "model.bhvit").write_bytes(b"another model")
    (tmp_path / "notes.txt").write_text("")
    assert deploy(root, tmp_path, "--format", "onnx") == 0
    out = capsys.readouterr().out
    assert "model.bhvit was there already and is left as it is; it may be of another model" in out
    assert "notes.txt" not in out
    assert (tmp_path / "model.bhvit").read_bytes() == b"another model"


def test_formats_can_be_chosen_with_commas_or_repeated(root, tmp_path, capsys) -> None:
    assert deploy(root, tmp_path / "a", "--format", "onnx,packed") == 0
    assert deploy(root, tmp_path / "b", "--format", "packed", "--format", "onnx") == 0
    assert capsys.readouterr().out.count("new, checked") == 4
    for name in "ab":
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["model.bhvit", "model.onnx"]


def test_a_file_of_another_model_is_replaced_only_where_that_is_asked_for(root, tmp_path, capsys) -> None:
    (tmp_path / "model.onnx").write_bytes(b"another model")
    assert deploy(root, tmp_path, "--format", "onnx,packed") == 2
    assert "exists and is of another model" in capsys.readouterr().err
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"another model"]
    assert deploy(root, tmp_path, "--format", "onnx,packed", "--overwrite") == 0
    assert "replaced, checked" in capsys.readouterr().out
    onnx.checker.check_model(str(tmp_path / "model.onnx"))


def test_the_calibration_images_follow_from_the_seed(root, deployed, tmp_path, capsys) -> None:
    (tmp_path / "model-qdq.onnx").write_bytes((deployed / "model-qdq.onnx").read_bytes())
    assert deploy(root, tmp_path, "--format", "onnx-int8", "--seed", "0") == 0
    assert deploy(root, tmp_path, "--format", "onnx-int8", "--seed", "1") == 2
    assert "model-qdq.onnx exists and is of another model or calibration" in capsys.readouterr().err


def test_a_checkpoint_in_a_study_says_by_its_place_what_it_is(root, deployed, tmp_path, capsys) -> None:
    (checkpoint,) = (root / "runs" / "study" / "trials").glob(f"*/{BEST}")
    assert deploy(root, tmp_path, "--checkpoint", str(checkpoint), "--format", "onnx", study=False) == 0
    assert (tmp_path / "model.onnx").read_bytes() == (deployed / "model.onnx").read_bytes()


def test_a_checkpoint_elsewhere_needs_a_space_file(root, deployed, tmp_path, capsys) -> None:
    (checkpoint,) = (root / "runs" / "study" / "trials").glob(f"*/{BEST}")
    kept = shutil.copy(checkpoint, tmp_path / "kept.safetensors")
    which = ["--checkpoint", str(kept), "--format", "onnx"]
    assert deploy(root, tmp_path, *which, study=False) == 2
    assert "add --space FILE" in capsys.readouterr().err
    which += ["--space", str(root / "space.yaml")]
    assert deploy(root, tmp_path, *which, study=False) == 2
    assert "has 2 configurations; choose with --set" in capsys.readouterr().err
    assert deploy(root, tmp_path, *which, "--set", "downsample*=binary", study=False) == 2
    assert "must hold exactly the tensors of the model" in capsys.readouterr().err
    assert deploy(root, tmp_path, *which, "--set", "downsample*=fp16", study=False) == 0
    assert (tmp_path / "model.onnx").read_bytes() == (deployed / "model.onnx").read_bytes()


def test_the_full_precision_parent_can_be_deployed(root, tmp_path, capsys) -> None:
    (checkpoint,) = (root / "runs" / WARM_STARTS).glob(f"*/{BEST}")
    which = ["--checkpoint", str(checkpoint), "--space", str(root / "space.yaml"), "--set", "downsample*=fp16"]
    assert deploy(root, tmp_path, *which, study=False) == 0
    out = capsys.readouterr().out
    assert "full-precision parent" in out
    assert "no layer is binary, so there is no file with binary weights" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model-qdq.onnx", "model.bhvit", "model.onnx"]


def test_what_does_not_compute_the_same_is_never_put_in_place(root, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(deployment, "packed_logits", lambda path, images, progress: images.numpy()[:, 0, 0, :3])
    assert deploy(root, tmp_path, "--format", "onnx,packed") == 2
    assert "model.bhvit must compute what PyTorch does, but its" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["STUDY", "7"], "trial 7 does not exist; trained: 0"),
        (["STUDY"], "takes STUDY and TRIAL, or --checkpoint FILE"),
        (["nothing", "0"], "must be the folder of a study"),
        (["STUDY", "0", "--format", "onnx,pakced"], "unknown format 'pakced' (did you mean 'packed'?)"),
        (["STUDY", "0", "--checkpoint", "x"], "but both are given"),
        (["STUDY", "0", "--set", "downsample*=fp16"], "say what a --checkpoint is"),
        (["--checkpoint", "nothing.safetensors"], "nothing.safetensors is no file"),
        (["STUDY", "0", "--calibration", "0"], "must be a whole number of at least 1"),
        (["STUDY", "0", "--seed", "-1"], "--seed must be at least 0"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(root, tmp_path, capsys, arguments, message) -> None:
    words = [str(root / "runs" / "study") if word == "STUDY" else word for word in arguments]
    assert main(["deploy", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_hold_the_files_are_refused(root, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert deploy(root, tmp_path / "file") == 2
    assert "--out must be a folder, but" in capsys.readouterr().err
    assert deploy(root, root / "runs" / "study" / "out") == 2
    assert "--out must be outside of studies" in capsys.readouterr().err


def test_missing_and_torn_weights_are_told_apart(root, tmp_path, capsys) -> None:
    shutil.copytree(root / "runs" / "study", tmp_path / "study")
    (weights,) = (tmp_path / "study" / "trials").glob(f"*/{BEST}")
    weights.write_bytes(weights.read_bytes()[:-10])
    for message in ("must be a whole safetensors file", "the weights must be on disk"):
        assert main(["deploy", str(tmp_path / "study"), "0", "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
        weights.unlink(missing_ok=True)
