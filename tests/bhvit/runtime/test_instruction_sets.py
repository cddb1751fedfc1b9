"""Every instruction set of the core against the numpy runtime, layer by layer and as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bhvit import PRECISIONS
from bhvit.runtime import load
from bhvit.runtime.model import Model
from tests.bhvit.runtime.networks import FAMILIES, core, layers_of_widths, photographs, random_header, runtimes, written

TOLERANCE = 1e-3  # of the mean magnitude of a layer's outputs
FEW = 0.1  # outputs of a layer that one sign, decided by rounding, may move
SEEDS = range(12)

compiled = [name for name in runtimes() if name != "numpy"]
pytestmark = pytest.mark.skipif(not compiled, reason="the core is not compiled")


def shares_of_moved_outputs(model: Model, oracle: Model, threads: int = 1) -> list[float]:
    """The share of outputs that differ, of every layer fed with the oracle's map."""
    x = np.random.default_rng(0).standard_normal((3, model.image_size, model.image_size), np.float32)
    moved = []
    for i in range(len(model.layers)):
        expected = oracle.runtime.run_layer(i, x)
        error = np.abs(model.runtime.run_layer(i, x, threads) - expected)
        moved.append(float(np.mean(error > TOLERANCE * np.abs(expected).mean())))
        x = expected
    return moved


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("instruction_set", compiled)
def test_layers_of_random_models_are_those_of_numpy(instruction_set: str, family: str, tmp_path: Path) -> None:
    moved: list[float] = []
    for seed in SEEDS:
        path = written(tmp_path / f"{seed}.bhvit", random_header(seed, family), seed)
        moved += shares_of_moved_outputs(
            load(path, instruction_set=instruction_set), load(path, instruction_set="numpy")
        )
    assert max(moved) <= FEW
    assert np.mean(np.array(moved) > 0) <= 0.03  # rounding decides now and then; all the time would be an error


@pytest.mark.parametrize("instruction_set", compiled)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_real_valued_layers_are_those_of_numpy_everywhere(
    instruction_set: str, family: str, precision: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "m.bhvit", layers_of_widths(precision, family))
    moved = shares_of_moved_outputs(load(path, instruction_set=instruction_set), load(path, instruction_set="numpy"))
    assert max(moved) == 0


@pytest.mark.parametrize("instruction_set", compiled)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_threads_within_an_image_change_no_bit(
    instruction_set: str, family: str, precision: str, tmp_path: Path
) -> None:
    model = load(written(tmp_path / "m.bhvit", layers_of_widths(precision, family)), instruction_set=instruction_set)
    image = photographs(model.image_size, 1)
    expected = model(image)
    for threads in (2, 3, 7):
        model.threads = threads
        np.testing.assert_array_equal(model(image), expected)


@pytest.mark.parametrize("instruction_set", compiled)
def test_bytes_and_the_floats_they_stand_for_give_the_same(instruction_set: str, tmp_path: Path) -> None:
    header = layers_of_widths("fp32", mean=(0.1, 0.5, 0.7), std=(0.2, 0.3, 0.9))
    model = load(written(tmp_path / "m.bhvit", header), instruction_set=instruction_set)
    images = photographs(model.image_size, 2)
    floats = ((images / 255 - header.mean) / header.std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(model(images), model(floats), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model(images), load(model.path, instruction_set="numpy")(images), rtol=1e-3, atol=1e-3)


def test_the_scalar_kernels_are_always_there() -> None:
    assert core() is None or compiled[-1] == "scalar"
