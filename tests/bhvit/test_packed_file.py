"""Packed files of honest models: what is written is what is read, cheaply."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bhvit import PRECISIONS, PRESETS, InvalidInput, Precision, PrecisionPlan
from bhvit.layer_terms import NORM_KINDS
from bhvit.layers.norm import NORMS
from bhvit.runtime.packed_file import read, write
from bhvit.runtime.schema import Header, Tensor, random_arrays, tensors_of
from tests.bhvit.second_reader import read_packed
from tests.bhvit.small import SMALLEST
from tests.bhvit.test_cost_against_model import drawn

BINARY = PrecisionPlan.uniform("binary")
SMALL = Header.of_plan(SMALLEST, BINARY)


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_any_model_comes_back_as_it_was_written(seed: int, copy: bool, tmp_path: Path) -> None:
    architecture, plan = drawn(seed)
    names = tuple(f"Klasse {i} / 类 {i} \"'\\" for i in range(architecture.num_classes))
    header = Header.of_plan(
        architecture,
        plan,
        norm=("batch", "layer")[seed % 2],
        classes=names,
        mean=(0.5, 0.25, 0.1),
        std=(1.0, 0.3, 1 / 3),
        crop_pct=1.0,
        interpolation="bilinear",
    )
    arrays = random_arrays(header, seed)
    write(tmp_path / "m.bhvit", header, arrays)
    model = read(tmp_path / "m.bhvit", copy)
    assert model.header == header
    assert list(model.schema) == [t.name for t in tensors_of(header)]
    assert set(model.tensors) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(model.natural(name), array)
        assert not model.tensors[name].flags.writeable


@pytest.mark.parametrize("seed", [*range(12), "tiny"])
def test_a_reader_written_from_the_documentation_reads_the_same(seed: int | str, tmp_path: Path) -> None:
    architecture, plan = drawn(seed) if isinstance(seed, int) else (PRESETS["tiny"], BINARY)
    for norm in ("batch", "layer"):
        header = Header.of_plan(architecture, plan, norm=norm)
        arrays = random_arrays(header)
        write(tmp_path / "m.bhvit", header, arrays)
        fields, found = read_packed((tmp_path / "m.bhvit").read_bytes())
        assert fields["layers"] == json.loads(header.to_json())["layers"]
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_the_same_model_is_always_the_same_bytes(tmp_path: Path) -> None:
    arrays = random_arrays(SMALL, 3)
    write(tmp_path / "a.bhvit", SMALL, arrays)
    write(tmp_path / "b.bhvit", SMALL, dict(reversed(arrays.items())))
    assert (tmp_path / "a.bhvit").read_bytes() == (tmp_path / "b.bhvit").read_bytes()


def test_a_file_without_weights_of_two_bits_is_of_version_1_to_the_last_byte(tmp_path: Path) -> None:
    """Recorded before there were any other files."""
    plan = BINARY.with_layers("downsample*", "fp16").with_layers("stage3.*", "int4").with_layers("stage0.*", "int8")
    header = Header.of_plan(SMALLEST, plan.with_layers("stage2.block0.mlp", "fp32"))
    write(tmp_path / "m.bhvit", header, random_arrays(header, 3))
    assert header.version == 1
    digest = hashlib.sha256((tmp_path / "m.bhvit").read_bytes()).hexdigest()
    assert digest.startswith("609809b03cc3493f70b87b24")


@pytest.mark.parametrize("precision", ["ternary", "int2"])
def test_one_layer_of_two_bits_makes_it_version_2(precision: str, tmp_path: Path) -> None:
    header = Header.of_plan(SMALLEST, BINARY.with_layers("downsample2", precision))
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    assert header.version == 2
    assert (tmp_path / "m.bhvit").read_bytes()[8:12] == b"\2\0\0\0"
    assert read(tmp_path / "m.bhvit").header == header


def test_layers_of_a_header_are_in_forward_order() -> None:
    header = Header.of_plan(SMALLEST, BINARY.with_layers("downsample2", "int8"))
    assert list(header.layers) == list(SMALLEST.addresses)
    assert {a for a, p in header.layers.items() if p.name == "int8"} == {"downsample2"}
    assert b'"layers":"bbbbb8bbbbb"' in header.to_json()


def test_norms_and_precisions_of_files_are_those_of_models() -> None:
    assert set(NORM_KINDS) == set(NORMS)
    for name in PRECISIONS:
        assert Header.from_json(Header.of_plan(SMALLEST, PrecisionPlan.uniform(name)).to_json()).precisions


def test_a_precision_without_a_letter_is_refused() -> None:
    plan = PrecisionPlan.uniform(Precision("int3", 3, 3))
    known = ", ".join(PRECISIONS)
    message = f"layers of a deployed model must be {known}, but stage0.block0.mixer is int3; choose one of them, or "
    with pytest.raises(InvalidInput, match=message):
        Header.of_plan(SMALLEST, plan)


def _changed(name: str, array: object) -> dict[str, object]:
    return {**random_arrays(SMALL), name: array}


BIAS, WEIGHT, HALF = "head.linear.bias", "stages.3.0.mlp.expand.linear.weight", "stem.conv.weight"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (_changed(BIAS, np.full(5, np.nan, np.float32)), f"every value of {BIAS} must be finite as f32"),
        (_changed(BIAS, np.zeros(5)), f"{BIAS} must be float32 (5,), but it is float64 (5,)"),
        (_changed(BIAS, np.zeros(6, np.float32)), f"{BIAS} must be float32 (5,), but it is float32 (6,)"),
        (_changed(WEIGHT, np.zeros((1, 32, 1, 16), np.int8)), f"every value of {WEIGHT} must be -1 or 1"),
        (_changed(HALF, np.full((1, 8, 1, 48), np.inf, np.float16)), f"every value of {HALF} must be finite as f16"),
        (_changed("more", np.zeros(1, np.float32)), "no other tensors than its own, but more is given"),
        (
            _changed("stages.2.0.mixer.probability.alpha", np.array([0.1, 0], np.float32)),
            "stages.2.0.mixer.probability.alpha must be at least 1e-08 in magnitude, but it is 0",
        ),
        ({k: v for k, v in random_arrays(SMALL).items() if k != BIAS}, f"{BIAS} is missing"),
    ],
)
def test_what_could_not_be_read_is_not_written(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as error:
        write(tmp_path / "m.bhvit", SMALL, arrays)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_random_levels_fill_their_range() -> None:
    header = Header.of_plan(SMALLEST, PrecisionPlan.uniform("int4"))
    levels = random_arrays(header)["stages.3.0.mlp.expand.linear.weight"]
    assert (levels.min(), levels.max()) == (-7, 7)
    assert Tensor("w", "int4", (1, 2, 1, 2)).is_weight


def test_reading_a_large_file_is_quick_and_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.bhvit"
    header = Header.of_plan(PRESETS["tiny"].scaled(3, 3), BINARY)
    write(path, header, random_arrays(header))
    seconds, mebibytes = map(float, subprocess.check_output([sys.executable, "-c", READ, str(path)]).split())
    assert mebibytes < 3  # of 21
    assert seconds < 0.5  # 0.02 on an idle machine


READ = """
import sys, time, resource
from bhvit.runtime import packed_file
def resident():
    return [int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
before, start = resident(), time.perf_counter()
model = packed_file.read(sys.argv[1])
print(time.perf_counter() - start, resident() - before)
assert "torch" not in sys.modules
"""
