"""Packed models as a caller sees them."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from bhvit import InvalidInput
from bhvit.runtime import Model, load, native
from bhvit.runtime import model as model_module
from tests.bhvit.runtime.networks import core, layers_of_widths, photographs, runtimes, written

NAMES = tuple(f"pet {i}" for i in range(7))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "m.bhvit", layers_of_widths("binary", classes=NAMES))


@pytest.fixture(params=runtimes())
def model(request: pytest.FixtureRequest, path: Path) -> Model:
    return load(path, instruction_set=request.param)


def test_a_model_says_what_it_is(model: Model) -> None:
    assert model.classes == NAMES
    assert model.image_size == 96
    assert model.instruction_set in runtimes()
    assert model(photographs(96, 3)).shape == (3, 7)
    assert model(photographs(96, 3)).dtype == np.float32


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_gives_what_its_images_give(model: Model, threads: int) -> None:
    images = photographs(96, 7)
    expected = np.concatenate([model(image[None]) for image in images])
    model.threads = threads
    np.testing.assert_array_equal(model(images), expected)


def test_many_threads_that_call_one_model_get_the_sequential_results(model: Model) -> None:
    images = photographs(96, 8)
    expected = [model(images[i : i + 2]) for i in range(7)]
    differing: list[int] = []

    def call(first: int) -> None:
        for i in range(first, first + 7):
            if not np.array_equal(model(images[i % 7 : i % 7 + 2]), expected[i % 7]):
                differing.append(i)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not differing


def test_images_that_are_no_contiguous_array_are_read_as_they_are(model: Model) -> None:
    images = photographs(96, 4)
    np.testing.assert_array_equal(model(images[::2, :, ::-1]), model(np.ascontiguousarray(images[::2, :, ::-1])))
    floats = images.transpose(0, 3, 1, 2) / 64 - 2
    np.testing.assert_array_equal(model(floats), model(np.ascontiguousarray(floats.astype(np.float32))))


def test_an_error_in_one_of_several_threads_reaches_the_caller(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(path, threads=2, instruction_set="numpy")

    def fail(image: np.ndarray, threads: int) -> np.ndarray:
        raise MemoryError("too little")

    monkeypatch.setattr(model.runtime, "run", fail)
    with pytest.raises(MemoryError, match="too little"):
        model(photographs(96, 4))


def test_a_profile_names_every_layer(model: Model) -> None:
    seconds = model.profile(photographs(96, 2))
    assert tuple(seconds) == model.layers
    assert (model.layers[0], model.layers[1], model.layers[-1]) == ("stem", "stage0.block0.mixer", "head")
    assert all(s > 0 for s in seconds.values())


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((96, 96, 3), np.uint8),
        np.zeros((0, 96, 96, 3), np.uint8),
        np.zeros((1, 3, 96, 96), np.uint8),
        np.zeros((1, 96, 96, 3), np.float32),
        np.zeros((1, 3, 96, 95), np.float32),
        np.zeros((1, 96, 96, 3), np.int64),
    ],
    ids=lambda images: f"{images.dtype}-{'x'.join(map(str, images.shape))}",
)
def test_images_of_another_shape_or_type_are_refused(model: Model, images: np.ndarray) -> None:
    with pytest.raises(
        InvalidInput, match=r"images must be uint8 \(batch, 96, 96, 3\) or normalised floats \(batch, 3"
    ):
        model(images)
    with pytest.raises(InvalidInput, match="images must be"):
        model.profile(images)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, 257])
def test_threads_must_be_a_sensible_number(path: Path, threads: int) -> None:
    with pytest.raises(InvalidInput, match="threads must be a whole number of 1 to 256, but it is"):
        load(path, threads=threads)


@pytest.mark.skipif(core() is None, reason="the core is not compiled")
def test_as_many_threads_as_are_allowed_can_run(path: Path) -> None:
    model, image = load(path), photographs(96, 1)
    expected = model(image)
    model.threads = model_module.MAX_THREADS
    np.testing.assert_array_equal(model(image), expected)


def test_the_environment_chooses_the_instruction_set(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in runtimes():
        monkeypatch.setenv("BHVIT_RUNTIME_ISA", name)
        assert load(path).instruction_set == name
    monkeypatch.setenv("BHVIT_RUNTIME_ISA", "sse9")
    with pytest.raises(InvalidInput, match=r"unknown instruction set .*'sse9'.* use one of: .*numpy"):
        load(path)
    assert load(path, instruction_set="numpy").instruction_set == "numpy"


def test_the_best_instruction_set_is_taken(path: Path) -> None:
    assert load(path).instruction_set == (runtimes()[1:] or ["numpy"])[0]


def test_without_a_core_numpy_computes_and_says_so_in_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("BHVIT_RUNTIME_LIBRARY", raising=False)
    monkeypatch.setattr(native, "BUILT_LIBRARY", path.parent / "_core.so")
    model_module._notice.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [load(path).instruction_set for _ in range(3)] == ["numpy"] * 3
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert "so numpy computes: same results, slow" in record.getMessage()
    caplog.clear()
    assert load(path, instruction_set="numpy").instruction_set == "numpy"
    assert not caplog.records  # it was asked for


def test_a_library_that_is_none_is_an_error_not_a_fallback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in (path, path.parent / "absent.so"):
        monkeypatch.setenv("BHVIT_RUNTIME_LIBRARY", str(library))
        with pytest.raises(InvalidInput, match="must be a library of the packed runtime, but"):
            load(path)


@pytest.mark.skipif(core() is None, reason="the core is not compiled")
def test_a_core_of_another_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_STRUCTS", native._STRUCTS[::-1])
    native.load_library.cache_clear()
    with pytest.raises(InvalidInput, match=r"must be built from this version .* build it again"):
        model_module.runtime_of(load(path, instruction_set="numpy").network)
