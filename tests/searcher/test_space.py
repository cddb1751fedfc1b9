"""Space files: what they mean, and that every broken one is refused with one line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bhvit.errors import InvalidInput
from bhvit.families import FAMILIES
from searcher.pruning import Hyperband, Median
from searcher.space import Space, load_space, parse_space
from searcher.yaml_file import parse_yaml
from tests.searcher.architectures import first_preset
from tests.searcher.spaces import FAMILY_NAMES, plain_space, small_space

LATE, EVERYWHERE = first_preset().block_parts(3)
DESIGN_CARD = """
model:     {preset: tiny, image_size: 224, classes: 37}
widths:
  hidden:       {choices: [1, 1.5, 2, 2.5, 3]}
  intermediate: {choices: [1, 2, 3, 4], per_stage: false}
precision:
  default: binary
  groups:
    - {layers: "downsample*", tie: each, choices: [binary, int8, fp16]}
    - {layers: "stage[23].*.LATE", tie: stage, choices: [binary, fp16]}
budget:    {relative_to: {widths: 1, precision: fp32}, memory: 1.0, ops: 1.0, accounting: reported}
search:    {trials: 60, seed: 0, workers: 1}
recipe:    pets
data:      {name: oxford_iiit_pet, root: data}
enqueue:   [{hidden: 3, intermediate: 3}, {hidden: 3, intermediate: 3, "downsample*": fp16}]
""".replace("LATE", LATE)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "card.yaml"
    path.write_text(DESIGN_CARD)
    return path


def test_design_card_spans_widths_times_precisions(card: Path) -> None:
    space = load_space(card)
    assert [v.name for v in space.variables] == [
        "hidden",
        "intermediate",
        "downsample1",
        "downsample2",
        "downsample3",
        f"stage2:stage[23].*.{LATE}",
        f"stage3:stage[23].*.{LATE}",
    ]
    assert space.size == 5 * 4 * 3**3 * 2**2
    assert space.name == "card"


def test_enqueued_points_reproduce_the_published_costs(card: Path) -> None:
    costs = [space_point.cost().total for space_point in map(load_space(card).candidate, load_space(card).enqueued)]
    assert [f"{c.memory_bytes / 2**20:.2f} {c.ops / 1e6:.1f}" for c in costs] == ["13.68 382.3", "24.75 1065.1"]


def test_relative_budget_is_the_cost_of_the_reference(card: Path) -> None:
    budget = load_space(card).budget
    assert f"{budget.memory / 2**20:.2f}" == "48.26"
    assert f"{budget.ops / 1e6:.1f}" == "2548.8"


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_index_and_choices_are_inverse(family: str) -> None:
    space = small_space(family)
    seen = [tuple(space.decode(i).values()) for i in range(space.size)]
    assert len(set(seen)) == 36
    assert [space.encode(space.decode(i)) for i in range(space.size)] == list(range(36))
    assert seen[1] == (1, 1, "binary", "int4")


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_choice_gives_another_candidate(family: str) -> None:
    space = small_space(family)
    assert len({space.candidate(space.decode(i)).id for i in range(space.size)}) == 36


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_candidate_has_the_chosen_widths_and_precisions(family: str) -> None:
    space = small_space(family)
    candidate = space.candidate(space.complete({"hidden": 2, "stage0*": "fp16"}))
    assert candidate.architecture == space.base.scaled(hidden=2)
    chosen = {a: p.name for a, p in candidate.layers.items()}
    assert {p for a, p in chosen.items() if a.startswith("stage0")} == {"fp16"}
    assert {p for a, p in chosen.items() if not a.startswith("stage0")} == {"binary"}


def test_per_stage_widths_scale_their_stage_alone() -> None:
    space = small_space(widths={"hidden": {"choices": [1, 2], "per_stage": True}}, precision={})
    assert [v.name for v in space.variables] == [f"hidden.stage{i}" for i in range(4)]
    assert space.candidate(space.complete({"hidden.stage2": 2})).architecture.embed_dims == (64, 128, 512, 512)
    assert space.candidate(space.complete({"hidden": 2})).architecture.embed_dims == (128, 256, 512, 1024)


def test_missing_keys_of_an_enqueued_point_get_the_default_else_the_first_choice() -> None:
    precision = {"default": "binary", "groups": [{"layers": "downsample*", "choices": ["int8", "fp16"]}]}
    space = small_space(precision=precision, widths={"hidden": {"choices": [2, 1]}}, enqueue=[{}])
    assert space.enqueued == ({"hidden": 1, "downsample*": "int8"},)


def test_space_without_variables_is_a_single_candidate() -> None:
    space = parse_space({"model": {"preset": "small"}}, "one")
    assert (space.size, space.decode(0), space.encode({})) == (1, {}, 0)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("side", [224, 160, 96, 192, 448, 128])
def test_options_are_derived_from_the_image_size(family: str, side: int) -> None:
    model = plain_space(family)["model"] | {"image_size": side}
    preset = FAMILIES[family].presets[model["preset"]]
    assert parse_space({"model": model}, "x").base == preset.with_options(image_size=side)


def test_canonical_yaml_reads_back_to_the_same_space(card: Path, tmp_path: Path) -> None:
    space = load_space(card)
    (tmp_path / "copy.yaml").write_text(space.to_yaml())
    copied = load_space(tmp_path / "copy.yaml")
    assert copied.file == space.file
    assert copied.fingerprint == space.fingerprint


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"budget": {"memory": "3 MiB"}}, True),
        ({"search": {"trials": 7, "pruner": "none"}}, True),
        ({"enqueue": [{"hidden": 2}]}, True),
        ({"search": {"seed": 1}}, False),
        ({"widths": {"hidden": {"choices": [1, 3]}}}, False),
        ({"precision": {"default": "int8"}}, False),
        ({"model": {"preset": "tiny", "norm": "layer"}}, False),
        ({"recipe": "pets"}, False),
    ],
    ids=str,
)
def test_fingerprint_changes_with_the_question_only(change: dict[str, Any], same: bool) -> None:
    assert (small_space(**change).fingerprint == small_space().fingerprint) is same


def test_preset_and_the_same_lists_are_the_same_question() -> None:
    base = small_space().base
    names = ("embed_dims", "intermediate_dims", "depths", "num_heads")
    lists = {name: list(getattr(base, name)) for name in names}
    assert small_space(model=lists).fingerprint == small_space().fingerprint


def test_pruner_is_a_name_or_a_mapping_with_options() -> None:
    assert small_space().search.pruner == Median()
    hyperband = {"name": "hyperband", "max_epochs": 9}
    assert small_space(search={"pruner": hyperband}).search.pruner == Hyperband(max_epochs=9)


REFUSALS = [
    ({"widht": {}}, "unknown key in the space file: 'widht' (did you mean 'widths'?)"),
    ({"search": {"trails": 3}}, "(did you mean 'trials'?)"),
    ({"widths": {"hidden": {"choices": [1, 1.0]}}}, "choices must be distinct, but 1.0 stands twice"),
    ({"widths": {"hidden": {"choices": [1, 1.001]}}}, "hidden must give different widths, but 1 and 1.001 both give"),
    ({"widths": {"hidden": {"choices": []}}}, "choices must be a list of 1 to 64 values"),
    ({"widths": {"hidden": {"choices": [-1]}}}, "width factors must be above 0"),
    ({"widths": {"hidden": {"choices": [True]}}}, "must be a number, but it is True"),
    ({"precision": {"default": "int7"}}, "unknown precision 'int7'"),
    (
        {"precision": {"default": "some_fp"}},
        'precision: default must be a precision, but some_fp is a plan; write {default: binary, groups: [{layers: "down'
        'sample*", choices: [fp16]}]}.',
    ),
    (
        {"precision": {"groups": [{"layers": "*", "choices": ["int8", "some_fp"]}]}},
        "precision.groups[0]: layers must have one of the precisions binary, ternary",
    ),
    ({"precision": {"groups": [{"layers": "stem", "choices": ["fp16"]}]}}, "'stem' must match a layer"),
    (
        {"precision": {"groups": [{"layers": x, "choices": ["fp16"]} for x in ("stage*", f"*.{EVERYWHERE}")]}},
        f"groups must not overlap, but 'stage*' and '*.{EVERYWHERE}' both match stage0.block0.{EVERYWHERE}",
    ),
    ({"precision": {"groups": [{"layers": "*", "choices": ["fp16"], "tie": "al"}]}}, "tie must be one of all, stage"),
    ({"budget": {"memory": 0.5, "relative_to": {"widths": {"hiden": 1}}}}, "(did you mean 'hidden'?)"),
    ({"budget": {"memory": "60%"}}, "memory is '60%', a share of a reference; add relative_to"),
    ({"budget": {"memory": "13 MOPs"}}, "memory must be an amount such as '13.7 MiB', but it is '13 MOPs'"),
    ({"budget": {"ops": -1}}, "ops must be a positive amount"),
    ({"budget": {"accounting": "real"}}, "unknown accounting 'real'"),
    (
        {"enqueue": [{"hiden": 1}]},
        "enqueue[0]: 'hiden' is no variable of the space (did you mean 'hidden'?);",
    ),
    ({"enqueue": [{"hidden": 7}]}, "enqueue[0]: hidden must be one of 1, 2, but it is 7"),
    ({"enqueue": [{"hidden": True}]}, "hidden must be one of 1, 2, but it is True"),
    ({"enqueue": [{}, {"hidden": 1}]}, "enqueue[1] is the same configuration as enqueue[0]"),
    ({"enqueue": [{"stage0*": "fp16", "stage0.*": "binary"}]}, "stage0* is set twice"),
    ({"model": {"preset": "tiny", "depths": [1, 1, 1, 1]}}, "give either a preset or lists"),
    ({"model": {"depths": [1, 1, 1, 1]}}, "give a preset, or all of embed_dims"),
    ({"model": {"preset": "tinny"}}, f"model: unknown {FAMILY_NAMES[0]} preset 'tinny' (did you mean 'tiny'?)"),
    ({"model": {"preset": "tiny", "image_size": 100}}, "model: image_size must be a multiple of"),
    ({"model": {"preset": "tiny", "classes": 0}}, "model: classes must be a positive integer, but it is 0."),
    ({"model": {"preset": "tiny", "image_size": 0}}, "model: image_size must be a positive integer, but it is 0."),
    ({"model": {"preset": "tiny", "num_classes": 3}}, "unknown key in model: 'num_classes' (did you mean 'classes'?)"),
    ({"model": {"preset": "tiny", "in_chans": 3}}, "unknown key in model: 'in_chans'; use one of: classes, depths, "),
    ({"budget": {"memory": 0.25}}, "add relative_to, or give an amount such as '13.7 MiB'"),
    ({"budget": {"ops": 0.5}}, "add relative_to, or give an amount such as '400 MOPs'"),
    ({"search": {"pruner": "medain"}}, "(did you mean 'median'?)"),
    ({"search": {"pruner": {"name": "hyperband"}}}, "search.pruner lacks max_epochs"),
    ({"search": {"trials": 0}}, "trials must be at least 1"),
]


@pytest.mark.parametrize(("change", "message"), REFUSALS, ids=[message[:40] for _, message in REFUSALS])
def test_refusal_names_file_rule_and_value(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(plain_space(**change)))
    with pytest.raises(InvalidInput) as refusal:
        load_space(path)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_base_that_width_factor_1_would_round_is_refused() -> None:
    lists = {"embed_dims": [12, 16, 32, 64], "intermediate_dims": [8] * 4, "depths": [1] * 4, "num_heads": [8] * 4}
    with pytest.raises(InvalidInput, match=r"are \[12, 16, 32, 64\]; use \[16, 16, 32, 64\]"):
        small_space(model=lists)


BROKEN_TEXTS = {
    "empty": b"",
    "not utf-8": b"model: {preset: t\xffny}",
    "tab": b"model:\n\tpreset: tiny",
    "unclosed": b"model: {preset: tiny",
    "duplicate key": b"model: {preset: tiny}\nmodel: {preset: small}",
    "alias bomb": b"a: &a [1]\nb: &b [*a, *a]\nmodel: {preset: *b}",
    "merge": b"a: &a {preset: tiny}\nmodel:\n  <<: *a",
    "python object": b"model: !!python/object/apply:os.system ['true']",
    "empty whole number": b"model: {preset: tiny, classes: !!int ''}",
    "two documents": b"model: {preset: tiny}\n---\nmodel: {preset: tiny}",
    "deep": b"[" * 5000,
    "huge number": b"model: {preset: tiny, classes: " + b"9" * 5000 + b"}",
    "infinite": b"model: {preset: tiny}\nbudget: {memory: .inf}",
    "date": b"model: {preset: 2020-13-45}",
    "list key": b"? [a]\n: 1",
    "null byte": b"model: \x00",
    "too large": b"# " + b"x" * 2_000_000,
    "huge depth": b"model: {embed_dims: [8,8,8,8], intermediate_dims: [8,8,8,8], num_heads: [1,1,1,1], "
    b"depths: [1,1,1,999999999]}",
}


@pytest.mark.parametrize("text", BROKEN_TEXTS.values(), ids=list(BROKEN_TEXTS))
def test_broken_file_is_one_line_of_invalid_input(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    with pytest.raises(InvalidInput) as refusal:
        load_space(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("model: {preset: tiny, image_size: 0140}", "0140"),
        ("model: {preset: tiny, classes: 1:30}", "1:30"),
        ("model: {preset: tiny, classes: 1_5}", "1_5"),
        ("budget: {memory: 0x10}", "0x10"),
        ("search: {seed: 0b11}", "0b11"),
        ("budget: {memory: 1_0.5}", "1_0.5"),
        ("budget: {memory: 1:30.5}", "1:30.5"),
        ("budget: {memory: .inf}", ".inf"),
    ],
)
def test_number_that_yaml_would_read_as_another_is_refused(line: str, written: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"# a comment\n{line}\n")
    with pytest.raises(InvalidInput) as refusal:
        load_space(path)
    assert f"a number must be a plain decimal such as 140 or 0.5, but {written!r} is none, line 2" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("-7", -7), ("+7", 7), ("140", 140), ("0.5", 0.5), (".5", 0.5), ("2.", 2.0), ("1.5e-08", 1.5e-8)],
)
def test_plain_decimals_are_read_as_they_stand(text: str, number: float) -> None:
    read = parse_yaml(text, "here")
    assert (read, type(read)) == (number, type(number))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(InvalidInput, match="must be a readable file"):
            load_space(path)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["binary", "60%"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, value in children for p in _places(value, (*path, key)))]


VALID = {**yaml.safe_load(DESIGN_CARD), "search": {"trials": 3, "pruner": {"name": "median", "warmup_epochs": 2}}}
PLACES = _places(VALID)[1:]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(PLACES), junk=JUNK, action=st.sampled_from(["replace", "rename", "add"]))
def test_file_with_any_part_replaced_is_read_or_refused_in_one_line(
    place: tuple[Any, ...], junk: Any, action: str, tmp_path: Path
) -> None:
    data: Any = copy.deepcopy(VALID)
    parent = data
    for key in place[:-1]:
        parent = parent[key]
    if action == "replace" or isinstance(parent, list):
        parent[place[-1]] = junk
    elif action == "rename":
        parent[f"{place[-1]}x"] = parent.pop(place[-1])
    else:
        parent["surplus"] = junk
    path = tmp_path / "junk.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    space = _read_or_refused_in_one_line(path)
    if space is not None:
        assert action == "replace" or isinstance(parent, list) or "enqueue" in place
        assert space.candidate(space.decode(space.size - 1)).cost().ops > 0


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(start=st.integers(0, len(DESIGN_CARD)), length=st.integers(1, 30), junk=st.binary(max_size=12))
def test_file_with_any_bytes_replaced_is_read_or_refused_in_one_line(
    start: int, length: int, junk: bytes, tmp_path: Path
) -> None:
    raw = DESIGN_CARD.encode()
    path = tmp_path / "junk.yaml"
    path.write_bytes(raw[:start] + junk + raw[start + length :])
    _read_or_refused_in_one_line(path)


def _read_or_refused_in_one_line(path: Path) -> Space | None:
    refusal = None
    try:
        return load_space(path)
    except InvalidInput as error:
        refusal = str(error)
    assert str(path) in refusal
    assert len(refusal.splitlines()) == 1
    return None
