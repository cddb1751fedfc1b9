"""The `searcher` command on real (small) trainings: killed, continued, evaluated; nothing repeated, nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from searcher.cli import main
from searcher.records import EpochRecord
from searcher.study_folder import StudyFolder
from tests.searcher.architectures import THIN, model_of
from tests.searcher.tiny_images import image_folder

TRIALS = 3
LATE, EVERYWHERE = (f"*.{name}" for name in THIN.block_parts(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with images and a space file of eight configurations, two widths, six of them within the budget."""
    root = tmp_path_factory.mktemp("study")
    image_folder(root / "images")
    phase = {"epochs": 2, "learning_rate": 0.002}
    space = {
        "model": model_of(THIN),
        "widths": {"hidden": {"choices": [1, 2]}},
        "precision": {
            "groups": [
                {"layers": "downsample*", "choices": ["binary", "fp16"]},
                {"layers": LATE, "choices": ["binary", "int8"]},
            ]
        },
        "budget": {"relative_to": {"precision": "fp32"}, "memory": 0.5, "ops": 0.9},
        "search": {"trials": TRIALS, "seed": 0, "pruner": "none"},
        "recipe": {"fp": phase, "qat": dict(phase), "batch_size": 8},
        "data": {"name": "image_folder", "root": str(root / "images")},
        "enqueue": [{"hidden": 2}, {"hidden": 2, LATE: "int8", "downsample*": "fp16"}],
    }
    (root / "space.yaml").write_text(yaml.safe_dump(space))
    return root


def command(folder: Path, runs: str, *more: str) -> list[str]:
    arguments = ["search", str(folder / "space.yaml"), "--runs", str(folder / runs), *more]
    return [sys.executable, "-m", "searcher", *arguments]


def results(folder: Path, runs: str, capsys) -> dict:
    assert main(["show", str(folder / runs / "space"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    for trial in shown["trials"]:
        trial["attempts"] = 0
        trial["epochs"] = epochs_of(folder / runs / "space", trial["trial"])
        trial["seconds"] = 0
    return {key: shown[key] for key in ("trials", "ranking", "outcomes", "fp_trainings", "fp_trainings_saved")}


def epochs_of(study: Path, number: int) -> list[EpochRecord]:
    """What the epochs of a trial came to, to the last digit, without how long they took."""
    metrics = StudyFolder(study).records()[number].metrics
    return [] if metrics is None else [replace(epoch, seconds=0) for epoch in metrics.epochs]


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, "calm"), capture_output=True, text=True)


def test_a_search_in_a_pipe_ends_with_the_table_and_the_next_commands(undisturbed, folder, capsys) -> None:
    assert undisturbed.returncode == 0, undisturbed.stderr
    out = undisturbed.stdout
    assert "\x1b" not in out
    header = next(line for line in out.splitlines() if line.startswith("mark"))
    assert " ".join(header.split()) == "mark place trial hidden bits Top-1% FP% memory share% OPs share%"
    assert "left" in out
    assert f"python -m searcher evaluate {folder / 'calm' / 'space'}" in out
    assert f"python -m searcher deploy {folder / 'calm' / 'space'}" in out
    found = results(folder, "calm", capsys)
    assert found["fp_trainings"] + found["fp_trainings_saved"] == TRIALS
    assert len(found["ranking"]) == TRIALS


def test_no_trained_candidate_is_over_the_budget_and_none_is_repeated(undisturbed, folder, capsys) -> None:
    trials = results(folder, "calm", capsys)["trials"]
    trained = [t for t in trials if t["outcome"] == "complete"]
    assert all(t["within_budget"] and max(t["budget_share"].values()) <= 1 for t in trained)
    assert len({json.dumps(t["choices"], sort_keys=True) for t in trials}) == len(trials)
    assert trials[0]["choices"] == {"hidden": 2, "downsample*": "binary", LATE: "binary"}


def test_a_search_killed_again_and_again_ends_as_the_undisturbed_one(undisturbed, folder, capsys) -> None:
    kills = 0
    for seconds in (0.2, 1.0, 2.5):  # from the first sign of life
        process = subprocess.Popen(command(folder, "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(folder / "killed" / "_warm_starts", process)
        time.sleep(seconds)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    last = subprocess.run(command(folder, "killed"), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert kills > 0
    assert results(folder, "killed", capsys) == results(folder, "calm", capsys)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.05)


def test_ctrl_c_says_how_to_go_on_and_exits_with_130(folder) -> None:
    process = subprocess.Popen(
        command(folder, "stopped"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test-suite in the background ignores it
    )
    wait_for(folder / "stopped" / "_warm_starts", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert "Interrupted; nothing is lost" in out
    assert "Traceback" not in out + err


def test_the_commands_suggested_for_a_named_study_belong_to_it(undisturbed, folder, capsys) -> None:
    shutil.copytree(folder / "calm", folder / "my runs")
    (folder / "my runs" / "space").rename(folder / "my runs" / "named")
    assert main(["search", str(folder / "space.yaml"), "--runs", str(folder / "my runs"), "--study", "named"]) == 0
    out = capsys.readouterr().out
    runs = f"--runs '{folder / 'my runs'}'"
    assert f"show '{folder / 'my runs' / 'named'}'" in out
    assert f"search {folder / 'space.yaml'} {runs} --study named --trials 6" in out
    assert "ablation" not in out  # the space has no MLP width to vary


def test_a_finished_search_started_again_trains_nothing(undisturbed, folder, capsys) -> None:
    before = {p: p.stat().st_mtime_ns for p in (folder / "calm" / "space" / "trials").rglob("*.safetensors")}
    assert main(command(folder, "calm")[3:]) == 0
    assert "3 of 3 trials" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "calm" / "space" / "trials").rglob("*.safetensors")}


def test_the_test_split_is_read_once(undisturbed, folder, capsys) -> None:
    study = str(folder / "calm" / "space")
    assert main(["evaluate", study, "0", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["split"], first["images"]) == ("test", 12)
    assert sum(row["images"] * row["accuracy"] for row in first["per_class"]) == pytest.approx(12 * first["accuracy"])
    stored = next((folder / "calm" / "space" / "trials").glob("0000-*/test.json"))
    stored.write_text(stored.read_text().replace('"images": 12', '"images": 13', 1))
    assert main(["evaluate", study, "0"]) == 0
    assert "13 images (read earlier, kept)" in capsys.readouterr().out
    assert main(["evaluate", study, "9"]) == 2
    assert "trial 9 does not exist; trained: 0, 2, 3" in capsys.readouterr().err


def test_another_question_in_the_same_folder_is_refused_and_nothing_changes(undisturbed, folder, capsys) -> None:
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["recipe"]["batch_size"] = 4
    other = folder / "other" / "space.yaml"
    other.parent.mkdir(exist_ok=True)
    other.write_text(yaml.safe_dump(space))
    study = folder / "calm" / "space"
    before = {p: p.stat().st_mtime_ns for p in study.rglob("*") if p.is_file() and p.name != "lock"}
    assert main(["search", str(other), "--runs", str(folder / "calm")]) == 2
    assert "recipe.batch_size is 8 there, 4 here" in capsys.readouterr().err
    assert before == {p: p.stat().st_mtime_ns for p in study.rglob("*") if p.is_file() and p.name != "lock"}


def test_train_takes_the_given_candidate_even_over_the_budget(folder, capsys) -> None:
    arguments = ["train", str(folder / "space.yaml"), "--runs", str(folder / "single"), "--set", "downsample*=fp16"]
    assert main([*arguments, "--set", "hidden=2", "--set", f"{LATE}=int8"]) == 0
    out = capsys.readouterr().out
    assert "1 of 1 trials" in out
    assert f"{LATE[2:]} int8" in out


def test_exported_space_file_trains_exactly_the_trial(undisturbed, folder, tmp_path, capsys) -> None:
    study, kept = folder / "calm" / "space", tmp_path / "kept.yaml"
    assert main(["export", str(study), "--trial", "2", "--out", str(kept)]) == 0
    assert main(["train", str(kept), "--runs", str(tmp_path / "again")]) == 0  # its FP parent too
    capsys.readouterr()
    (again,) = (tmp_path / "again").glob("kept*")
    assert [e.phase for e in epochs_of(again, 0)] == ["fp", "fp", "qat", "qat"]
    assert epochs_of(again, 0)[2:] == epochs_of(study, 2)[-2:]


def test_ablation_trains_three_models_each_from_its_own_parent(folder, capsys) -> None:
    arguments = ["ablation", str(folder / "space.yaml"), "--runs", str(folder / "abl"), "--hidden", "2"]
    assert main([*arguments, "--intermediate", "2"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--intermediate", "2", "--costs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["steps"]
    assert [row["step"] for row in rows] == ["base", "+ intermediate", "+ hidden"]
    assert all(0 <= row["accuracy"] <= 1 and 0 <= row["parent_accuracy"] <= 1 for row in rows)
    assert len(list((folder / "abl" / "_warm_starts").iterdir())) == 3


def test_missing_data_is_told_before_anything_is_written(folder, tmp_path, capsys) -> None:
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["data"]["root"] = str(tmp_path / "nothing")
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    assert main(["search", str(tmp_path / "space.yaml"), "--runs", str(tmp_path / "runs")]) == 2
    assert "is not a folder; put the images there" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_thirty_trials_train_as_many_full_precision_parents_as_there_are_widths(folder, tmp_path, capsys) -> None:
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["widths"]["intermediate"] = {"choices": [1, 2]}
    space["precision"]["groups"].append({"layers": EVERYWHERE, "choices": ["binary", "int4"]})
    space |= {"budget": {}, "search": {"trials": 30, "seed": 0, "pruner": "none", "threads": 1}, "enqueue": []}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    assert main(["search", str(tmp_path / "space.yaml"), "--runs", str(tmp_path), "--device", "cpu"]) == 0
    capsys.readouterr()
    found = results(tmp_path, ".", capsys)
    widths = {(t["choices"]["hidden"], t["choices"]["intermediate"]) for t in found["trials"]}
    assert len(found["trials"]) == 30
    assert found["fp_trainings"] == len(widths) == len(list((tmp_path / "_warm_starts").glob("*/best.safetensors")))
    assert found["fp_trainings_saved"] == 30 - len(widths)
