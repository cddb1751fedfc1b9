"""The size of a packed file against the cost model: `complete` bytes are what a device really stores."""

import dataclasses
import random
from pathlib import Path

import pytest

from bhvit import FAMILIES, PRECISIONS, PRESETS, ArchitectureConfig, PrecisionPlan, cost_of
from bhvit.runtime.packed_file import HEAD, read, write
from bhvit.runtime.placement import aligned, sections_of
from bhvit.runtime.schema import ITEMS, Header, random_arrays
from tests.bhvit.runtime.networks import FAMILIES as PACKED
from tests.bhvit.test_cost_against_model import drawn

DEMO = ArchitectureConfig.from_lists(
    (16, 32, 64, 128), (64, 128, 256, 512), (1, 1, 2, 1), (1, 1, 2, 4), image_size=96, window_size=3, num_classes=6
)  # the architecture of search_spaces/demo.yaml
BINARY = PrecisionPlan.uniform("binary")
DAGGER = BINARY.with_layers("downsample*", "fp16")


def file_size(header: Header) -> int:
    return sections_of(header, HEAD.size + len(header.to_json()))[-1].stop


def complete(header: Header) -> float:
    layers = PrecisionPlan.of_layers(header.layers)
    return cost_of(header.architecture, layers, "complete", header.norm).complete_bytes


def mixed(architecture: ArchitectureConfig, seed: int) -> PrecisionPlan:
    draw = random.Random(seed)
    return PrecisionPlan.of_layers({a: PRECISIONS[draw.choice(list(PRECISIONS))] for a in architecture.addresses})


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("family", PACKED)
@pytest.mark.parametrize("seed", range(20))
def test_tensors_of_any_model_take_exactly_its_complete_bytes(seed: int, family: str, norm: str) -> None:
    header = Header.of_plan(*drawn(FAMILIES[family], seed)[:2], norm=norm)
    sections = sections_of(header, 0)
    stored = sum(section.stop - section.start for section in sections)
    parts_of_bytes = sum(t.is_weight for section in sections for t, _ in section.tensors)
    assert 0 <= stored - complete(header) < parts_of_bytes  # a weight of 13 bits takes 2 bytes
    overhead = file_size(header) - stored
    assert overhead < aligned(HEAD.size + len(header.to_json())) + 64 * (len(ITEMS) - 1)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("hidden", [1, 1.5, 2])
@pytest.mark.parametrize("precision", [*PRECISIONS, "mixed"])
def test_files_of_demo_models_have_their_complete_bytes_within_a_percent(
    precision: str, hidden: float, norm: str, tmp_path: Path
) -> None:
    architecture = DEMO.scaled(hidden)
    plan = mixed(architecture, 1) if precision == "mixed" else PrecisionPlan.uniform(precision)
    header = Header.of_plan(architecture, plan, norm=norm)
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    size = (tmp_path / "m.bhvit").stat().st_size
    assert size == file_size(header)
    assert complete(header) < size < 1.01 * complete(header)


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("plan", [*map(PrecisionPlan.uniform, PRECISIONS), DAGGER], ids=[*PRECISIONS, "dagger"])
def test_files_of_the_presets_have_their_complete_bytes_within_a_percent(
    plan: PrecisionPlan, preset: str, width: int
) -> None:
    architecture = PRESETS[preset].scaled(width, width)
    names = tuple(f"class number {i}" for i in range(architecture.num_classes))
    for norm in ("batch", "layer"):
        header = Header.of_plan(architecture, plan, norm=norm, classes=names)
        assert complete(header) < file_size(header) < 1.001 * complete(header)


def test_binary_tiny_files_are_as_small_as_promised(tmp_path: Path) -> None:
    limits = {1: 4.2e6, 3: 22e6}
    for width, limit in limits.items():
        header = Header.of_plan(PRESETS["tiny"].scaled(width, width), BINARY)
        assert 0.99 * limit < file_size(header) <= limit
    header = Header.of_plan(PRESETS["tiny"], BINARY)
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    assert (tmp_path / "m.bhvit").stat().st_size == file_size(header)


def test_published_models_are_used_where_the_file_is_mapped(tmp_path: Path) -> None:
    header = Header.of_plan(PRESETS["tiny"], DAGGER)
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    model = read(tmp_path / "m.bhvit")
    copied = [
        name
        for name, tensor in model.schema.items()
        if tensor.is_weight and model.kernel_weight(name) is not model.tensors[name]
    ]
    odd = {"head.linear.weight"} | {f"stages.0.{j}.mixer.convs.{k}.weight" for j in range(2) for k in range(3)}
    assert set(copied) == odd  # 37 classes; 16 channels a group, a word has 32


def test_layer_norm_models_store_a_scale_for_every_column_of_a_quantized_product() -> None:
    batch, layer = (Header.of_plan(DEMO, BINARY, norm=norm) for norm in ("batch", "layer"))
    columns = {"mlp": lambda c, i: c + i, "attention": lambda c, _: 4 * c, "mixer": lambda c, _: 0}
    expected = sum(DEMO.embed_dims[1:])  # downsampling
    for address in DEMO.addresses:
        stage, kind = int(address[5]) if address.startswith("stage") else 0, address.rpartition(".")[2]
        if kind in columns:
            expected += columns[kind](DEMO.embed_dims[stage], DEMO.intermediate_dims[stage])
    assert complete(layer) - complete(batch) == 4 * expected
    real = dataclasses.replace(batch, precisions=(PRECISIONS["fp32"],) * len(batch.precisions))
    assert complete(real) == complete(dataclasses.replace(real, norm="layer"))
