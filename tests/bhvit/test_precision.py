import pytest

from bhvit import PRECISIONS, TINY, InvalidInput, PrecisionPlan
from bhvit.precision import any_quantized, ops_per_mac, real_width


@pytest.mark.parametrize(
    ("bits", "ops"),
    [((1, 1), 1 / 64), ((2, 1), 2 / 64), ((2, 2), 4 / 64), ((4, 4), 0.25), ((8, 8), 1), ((16, 16), 1), ((32, 32), 1)],
)
def test_ops_of_a_mac_are_exact_at_both_ends(bits: tuple[int, int], ops: float) -> None:
    assert ops_per_mac(*bits) == ops


def test_rows_are_in_the_order_of_their_bits() -> None:
    bits = [p.bits for p in PRECISIONS.values()]
    assert bits == sorted(set(bits))


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=str)
def test_a_packed_weight_takes_its_bits(precision) -> None:
    assert precision.weight_bytes * 8 == precision.weight_bits
    assert PRECISIONS[precision.name] is precision


def test_the_last_matching_rule_wins() -> None:
    plan = PrecisionPlan.uniform("binary").with_layers("downsample*", "fp16").with_layers("downsample2", "int8")
    layers = plan.resolve(TINY.addresses)
    assert [layers[f"downsample{i}"].name for i in (1, 2, 3)] == ["fp16", "int8", "fp16"]
    assert layers["stage0.block0.mixer"].name == "binary"
    assert {a: plan.precision_of(a) for a in TINY.addresses} == layers


def test_a_rule_after_an_exact_one_overrides_it() -> None:
    plan = PrecisionPlan.uniform("binary").with_layers("downsample2", "int8").with_layers("downsample*", "fp16")
    assert plan.resolve(TINY.addresses)["downsample2"].name == "fp16"
    assert plan.precision_of("downsample2").name == "fp16"


def test_a_rule_that_matches_nothing_is_refused() -> None:
    plan = PrecisionPlan.uniform("binary").with_layers("downsampel*", "fp16")
    with pytest.raises(InvalidInput, match=r"'downsampel\*' matches none of stage0\.block\*\.mixer, "):
        plan.resolve(TINY.addresses)


def test_an_unknown_precision_names_the_nearest_and_all_legal_ones() -> None:
    with pytest.raises(InvalidInput, match=r"'bianry' \(did you mean 'binary'\?\); use one of: binary, fp16, fp32"):
        PrecisionPlan.uniform("bianry")


def test_whoever_names_a_plan_is_told_of_the_plan_and_not_of_its_rules() -> None:
    layers = ["stage0.block0.mlp", "stage0.block1.mlp"]
    named = PrecisionPlan.named("some_fp")
    text = (
        r"^the plan some_fp \(binary, downsample\* fp16\) is for models with layers downsample\*, but this one has "
        r"only stage0\.block\*\.mlp; use a precision instead\.$"
    )
    for plan in (named, named.with_layers("*.mlp", "int8")):
        with pytest.raises(InvalidInput, match=text):
            plan.resolve(layers)
    written = PrecisionPlan.uniform("binary").with_layers("downsample*", "fp16")
    assert (written == named, hash(written) == hash(named)) == (True, True)
    with pytest.raises(InvalidInput, match=r"^a precision rule must match a layer, but 'downsample\*' matches none of"):
        written.resolve(layers)
    with pytest.raises(InvalidInput, match=r"^a precision rule must match a layer, but 'stem' matches none of"):
        named.with_layers("stem", "int8").resolve([*layers, "downsample1"])


def test_a_plan_is_no_precision_of_layers() -> None:
    text = "layers must have one of the precisions binary, .*, but some_fp is a plan for whole models: binary, downs"
    with pytest.raises(InvalidInput, match=text):
        PrecisionPlan.uniform("binary").with_layers("*", "some_fp")
    some_fp = PrecisionPlan.named("some_fp")
    for value, told in ((some_fp, "a PrecisionPlan"), (["binary"], r"\['binary'\]"), (None, "None")):
        with pytest.raises(InvalidInput, match=f"a precision must be a name, one of binary, .*, but it is {told}\\.$"):
            PrecisionPlan.uniform("binary").with_layers("*", value)


def test_a_plan_is_named_by_itself() -> None:
    plan = PrecisionPlan.uniform("int8").with_layers("downsample*", "fp16")
    assert PrecisionPlan.named(plan) is plan
    assert str(plan) == "int8, downsample* fp16"


def test_a_plan_rebuilt_from_its_layers_resolves_to_them() -> None:
    plan = PrecisionPlan.uniform("binary").with_layers("stage[23].*.attention", "int4").with_layers("*1", "fp16")
    layers = plan.resolve(TINY.addresses)
    assert PrecisionPlan.of_layers(layers).resolve(TINY.addresses) == layers


@pytest.mark.parametrize(
    ("plan", "width", "quantizes"),
    [
        (PrecisionPlan.uniform("fp32"), "fp32", False),
        (PrecisionPlan.uniform("fp16"), "fp16", False),
        (PrecisionPlan.uniform("fp32").with_layers("downsample1", "fp16"), "fp16", False),
        (PrecisionPlan.uniform("fp32").with_layers("downsample1", "binary"), "fp16", True),
        (PrecisionPlan.uniform("binary"), "fp16", True),
    ],
    ids=["fp32", "fp16", "fp32 and fp16", "fp32 and binary", "binary"],
)
def test_stem_and_head_are_fp32_only_in_a_wholly_fp32_plan(plan: PrecisionPlan, width: str, quantizes: bool) -> None:
    layers = plan.resolve(TINY.addresses)
    assert real_width(layers).name == width
    assert any_quantized(layers) is quantizes
