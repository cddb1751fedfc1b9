"""What every row of `FAMILIES` must do, whatever it says of its stages, norms and precisions.

That costs are those of the model, layer by layer, is shown in `tests/bhvit/test_cost_against_model.py`, and that norms
and precisions which a family lacks are refused in `test_family_rules.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.cells import cell_len

from bhvit import PRECISIONS, InvalidInput, PrecisionPlan
from bhvit.checkpoint import load_weights, round_to_stored_precision, save_weights
from bhvit.device_file import load_device
from bhvit.export.packed import pack
from bhvit.families import FAMILIES, Family, family_of
from bhvit.family_model import FamilyModel
from bhvit.runtime import load
from bhvit.runtime.header import LETTERS
from bhvit.staged import Architecture
from searcher.candidate import Candidate
from searcher.candidate_training import build_candidate, evaluation_images
from searcher.checkpoint_files import BEST
from searcher.evaluation import evaluate
from searcher.feasible import feasible_set
from searcher.grid import Grid
from searcher.pipeline import train_candidate
from searcher.recipe import DataConfig, recipe_from
from searcher.records import Outcome
from searcher.space import Space, load_space, parse_space
from searcher.study_folder import StudyFolder
from tests.searcher.architectures import model_of, refused, small_architecture
from tests.searcher.records import record_of, store
from tests.searcher.screens import screen
from tests.searcher.test_completion import offered
from tests.searcher.tiny_images import few_photographs

SIDE = 32
PHASE = {"epochs": 1, "learning_rate": 0.002}
RECIPE = recipe_from({"fp": PHASE, "qat": PHASE, "batch_size": 6})
ROWS = [pytest.param(family, id=name) for name, family in FAMILIES.items()]
of_every_family = pytest.mark.parametrize("family", ROWS)


def some_precisions(family: Family) -> list[str]:
    """The first of the family's precisions, one in the middle, and the last."""
    names = family.config.precisions
    return list(dict.fromkeys((names[0], names[len(names) // 2], names[-1])))


of_every_family_and_precision = pytest.mark.parametrize(
    ("family", "precision"),
    [pytest.param(row, p, id=f"{row.name}-{p}") for row in FAMILIES.values() for p in some_precisions(row)],
)


def small(family: Family) -> Architecture:
    return small_architecture(family.name, SIDE)


def mixed(family: Family, architecture: Architecture) -> PrecisionPlan:
    """Every precision of the family in turn over the layers."""
    names = family.config.precisions
    return PrecisionPlan.of_layers({a: PRECISIONS[names[i % len(names)]] for i, a in enumerate(architecture.addresses)})


def space_of(family: Family, **sections: Any) -> Space:
    """2 widths x 2 widths x the precisions of the first layer x those of the last one."""
    addresses, names = small(family).addresses, some_precisions(family)
    groups = [{"layers": a, "choices": names} for a in dict.fromkeys((addresses[0], addresses[-1]))]
    return parse_space(
        {
            "model": model_of(small(family), family.name),
            "widths": {"hidden": {"choices": [1, 2]}, "intermediate": {"choices": [1, 0.5]}},
            "precision": {"default": names[-1], "groups": groups},
            **sections,
        },
        "contract",
    )


def candidates(space: Space) -> Iterator[Candidate]:
    return (space.candidate(space.decode(i)) for i in range(space.size))


def built(family: Family, architecture: Architecture, plan: PrecisionPlan, **form: Any) -> FamilyModel:
    torch.manual_seed(0)
    model: FamilyModel = family.build_model(architecture, plan, **form)
    return model


# --- what a family says of itself


@of_every_family
def test_a_family_says_what_it_can_be(family: Family) -> None:
    assert FAMILIES[family.name] is family
    assert set(family.config.precisions) <= set(PRECISIONS)
    assert "fp32" in family.config.precisions  # every candidate starts from a full-precision parent
    assert family.config.norms
    assert family.presets
    for preset in family.presets.values():
        assert family_of(preset) is family
        assert len(preset.stages) == len(preset.resolutions) == family.config.stage_count
        assert len(set(preset.addresses)) == len(preset.addresses) > 0


@of_every_family
def test_a_model_takes_its_norm_and_recu_from_the_architecture(family: Family) -> None:
    model = built(family, small(family), PrecisionPlan.uniform("fp32"))
    assert (model.norm, model.recu) == (family.config.norms[0], family.config.released_with_recu)


@of_every_family
def test_widths_scale_to_legal_ones(family: Family) -> None:
    for preset in family.presets.values():
        assert preset.scaled() == preset
        wide, narrow = preset.scaled(2, 2), preset.scaled(1e-4, 1e-4)
        assert wide.embed_dims == tuple(2 * c for c in preset.embed_dims)
        assert wide.addresses == narrow.addresses == preset.addresses
        assert narrow.embed_dims == tuple(preset.width_step(i) for i in range(len(preset.stages)))


# --- files


@of_every_family
def test_presets_and_lists_are_space_files(family: Family, tmp_path: Path) -> None:
    preset = next(iter(family.presets))
    for model in ({"family": family.name, "preset": preset}, model_of(family.presets[preset], family.name)):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({"model": model}))
        space = load_space(path)
        assert space.base == family.presets[preset]
        assert (space.family, space.file.model.norm) == (family.name, family.config.norms[0])
        path.write_text(space.to_yaml())
        again = load_space(path)
        assert (again.file, again.fingerprint) == (space.file, space.fingerprint)


@of_every_family
def test_candidates_are_read_as_they_were_written(family: Family) -> None:
    space = space_of(family)
    for candidate in candidates(space):
        again = Candidate.from_json(json.loads(json.dumps(candidate.to_json())))
        assert (again.id, again.architecture, again.layers) == (candidate.id, candidate.architecture, candidate.layers)
        assert {p.name for p in candidate.parent.layers.values()} == {"fp32"}
    assert len({candidate.id for candidate in candidates(space)}) == space.size


def test_families_and_presets_are_completed() -> None:
    assert offered("searcher cost --family ") == list(FAMILIES)
    for name, family in FAMILIES.items():
        assert offered(f"searcher cost --family {name} --preset ") == list(family.presets)


# --- costs


@of_every_family
@pytest.mark.parametrize("accounting", ["reported", "complete"])
def test_the_grid_costs_what_every_candidate_does(family: Family, accounting: str) -> None:
    for norm in family.config.norms:
        model = model_of(small(family), family.name) | {"norm": norm}
        space = space_of(family, model=model, budget={"accounting": accounting})
        (block,) = Grid(space).blocks()
        totals = [candidate.cost(accounting).total for candidate in candidates(space)]
        assert [space.encode(space.choices_of(row)) for row in block.codes] == list(range(space.size))
        assert list(zip(block.memory_bytes, block.ops, strict=True)) == [(t.memory_bytes, t.ops) for t in totals]


@of_every_family
def test_a_budget_rules_out_what_exceeds_it_and_nothing_else(family: Family) -> None:
    costs = [candidate.cost().total for candidate in candidates(space_of(family))]
    limits = {"memory": sorted(c.memory_bytes for c in costs)[len(costs) // 2], "ops": max(c.ops for c in costs) - 1}
    space = space_of(family, budget=limits)
    within = [i for i, c in enumerate(costs) if c.memory_bytes <= limits["memory"] and c.ops <= limits["ops"]]
    assert 0 < len(within) < space.size
    assert [space.encode(space.choices_of(row)) for row in feasible_set(space).codes] == within


@of_every_family
def test_milliseconds_are_predicted_or_refused_in_one_line(family: Family) -> None:
    device, candidate = load_device("avx512"), next(candidates(space_of(family)))
    if family.work is None:
        with pytest.raises(
            InvalidInput, match=f"but this one is a {family.config.title}; leave the device out"
        ) as refusal:
            candidate.cost(device=device)
        assert "\n" not in str(refusal.value)
        return
    report = candidate.cost(device=device)
    assert all(row.latency_seconds and row.latency_seconds > 0 for row in report.layers)


# --- models


@of_every_family_and_precision
def test_stored_weights_give_the_same_logits(family: Family, precision: str, tmp_path: Path) -> None:
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    model = built(family, small(family), PrecisionPlan.uniform(precision)).train()
    model(images).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    round_to_stored_precision(model.eval())
    save_weights(model, tmp_path / "w.safetensors")
    torch.manual_seed(1)
    again = family.build_model(small(family), PrecisionPlan.uniform(precision)).eval()
    load_weights(again, tmp_path / "w.safetensors")
    with torch.inference_mode():
        assert torch.equal(again(images), model(images))
        assert model(images).shape == (4, 3)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    return DataConfig("image_folder", str(few_photographs(tmp_path_factory.mktemp("photographs"))))


@pytest.fixture(scope="module")
def warm_starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("warm")


@of_every_family_and_precision
def test_a_candidate_is_trained_from_its_parent_and_found_again(
    family: Family, precision: str, photographs: DataConfig, warm_starts: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    candidate = Candidate(family.name, small(family), PrecisionPlan.uniform(precision))
    where: dict[str, Any] = {"directory": tmp_path, "warm_starts": warm_starts, "seed": 0, "device": "cpu"}
    metrics = train_candidate(candidate, RECIPE, photographs, **where, report=lambda record: False)
    assert [(e.phase, e.epoch) for e in metrics.epochs][-1] == ("qat", 1)
    again, cpu, listing = build_candidate(candidate, RECIPE), torch.device("cpu"), photographs.list_images()
    load_weights(again, tmp_path / BEST)
    found = evaluate(
        again, evaluation_images(listing.val, SIDE, False).batches(cpu), listing.classes, "val", cpu, "off"
    )
    assert (found.accuracy, found.loss) == (metrics.accuracy, pytest.approx(metrics.epochs[-1].val_loss, rel=1e-5))


@of_every_family
def test_a_model_is_packed_or_refused_in_one_line(family: Family, tmp_path: Path) -> None:
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    architecture = small(family)
    model = built(family, architecture, mixed(family, architecture)).train()
    model(images)
    round_to_stored_precision(model.eval())
    refusal = refused(lambda: pack(model, tmp_path / "m.packed"))
    assert (refusal is None) == (family.deployable and set(model.layers.values()) <= set(LETTERS.values()))
    if refusal is not None:
        assert any(name in refusal for name in (family.config.title, *family.config.precisions))
        assert "\n" not in refusal
        assert not list(tmp_path.iterdir())
        return
    with torch.inference_mode():
        expected = model.double()(images.double()).numpy()
    packed = load(tmp_path / "m.packed", instruction_set="numpy")(images.numpy())
    assert (packed.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_allclose(packed, expected, atol=0.05 * np.abs(expected).max())


# --- views


@of_every_family
@pytest.mark.parametrize("width", [80, 100])
def test_costs_fit_the_terminal(family: Family, width: int, tmp_path: Path) -> None:
    for name in family.presets:
        text = screen("cost", "--family", family.name, "--preset", name, "--precision", "fp16", width=width)
        assert "stem" in text
        assert max(map(cell_len, text.splitlines())) <= width
    (tmp_path / "space.yaml").write_text(space_of(family).to_yaml())
    for command in ("cost", "space"):
        text = screen(command, str(tmp_path / "space.yaml"), width=width)
        assert family.name in text or small(family).addresses[-1] in text
        assert max(map(cell_len, text.splitlines())) <= width


@of_every_family
@pytest.mark.parametrize("width", [80, 100])
def test_trials_fit_the_terminal(family: Family, width: int, tmp_path: Path) -> None:
    """Of the family's largest preset, with each of its precisions, in the views of one trial and of all."""
    model = {"family": family.name, "preset": list(family.presets)[-1]}
    precision = {"groups": [{"layers": "*", "choices": list(family.config.precisions)}]}
    default = family.config.precisions[0]
    space = parse_space({"model": model, "precision": {"default": default, **precision}}, "contract")
    folder = StudyFolder(tmp_path / "contract")
    folder.prepare()
    folder.space_file.write_text(space.to_yaml())
    store(folder, *(record_of(space, n, Outcome.COMPLETE) for n in range(space.size)))
    for command in (["show"], ["trial", "0"], ["diff", "0", str(space.size - 1)]):
        text = screen(command[0], str(folder.path), *command[1:], width=width)
        assert not text.startswith("searcher: ")
        assert max(map(cell_len, text.splitlines())) <= width
