import itertools

import pytest
import torch

from bhvit import PRECISIONS, TINY, ArchitectureConfig, InvalidInput, PrecisionPlan
from bhvit.model import build_model
from bhvit.quantizers import QUANTIZERS

LISTS = ([8, 8, 16, 16], [16, 16, 20, 20], [1] * 4, [1, 1, 2, 2], 96, 3, 5)
ARCHITECTURE = ArchitectureConfig.from_lists(*LISTS)
BINARY = PrecisionPlan.uniform("binary")
IMAGES = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(7))


def model(plan=BINARY, architecture=ARCHITECTURE, **options):
    torch.manual_seed(0)
    return build_model(architecture, plan, **options)


def test_every_precision_of_the_table_has_quantizers() -> None:
    assert set(QUANTIZERS) == set(PRECISIONS)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_every_parameter_gets_a_finite_gradient(precision: str, norm: str) -> None:
    m = model(PrecisionPlan.uniform(precision), norm=norm).train()
    m(IMAGES).logsumexp(1).sum().backward()
    grads = {name: p.grad for name, p in m.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in grads.values())
    weights = [layer.weight.grad for layers in m.weight_layers.values() for layer in layers]
    assert all(g.abs().sum() > 0 for g in weights)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(PRECISIONS, 2)))
def test_any_layer_can_have_any_precision_beside_any_other(first: str, second: str) -> None:
    plan = PrecisionPlan.uniform(first)
    for address in ARCHITECTURE.addresses[::2]:
        plan = plan.with_layers(address, second)
    m = model(plan)
    assert m.train()(IMAGES).isfinite().all()
    assert m.eval()(IMAGES).shape == (4, 5)
    assert [p.name for p in m.layers.values()][:2] == [second, first]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_take_the_levels_of_their_bits(precision: str) -> None:
    m = model(PrecisionPlan.uniform(precision))
    bits = PRECISIONS[precision].weight_bits
    for address, layers in m.weight_layers.items():
        for layer in layers if address not in ("stem", "head") else ():
            rows = layer.quantized_weight().flatten(1)
            levels = max(len(row.unique()) for row in rows)
            assert levels <= 2**bits if bits < 16 else torch.equal(layer.quantized_weight(), layer.weight)


@pytest.mark.parametrize("name", ["hidden", "intermediate"])
@pytest.mark.parametrize("factor", [0.5, 0.7, 1.3, 2.9])
def test_fractional_widths_train(name: str, factor: float) -> None:
    m = model(architecture=ARCHITECTURE.scaled(**{name: factor})).train()
    m(IMAGES).sum().backward()
    assert m.eval()(IMAGES).shape == (4, 5)


@pytest.mark.parametrize(("size", "window"), [(32, 1), (96, 1), (96, 3), (160, 5), (192, 3), (224, 7)])
def test_any_legal_image_size_works(size: int, window: int) -> None:
    m = model(architecture=ArchitectureConfig.from_lists(*LISTS[:4], size, window, 5)).eval()
    assert m(torch.randn(1, 3, size, size)).isfinite().all()


@pytest.mark.parametrize("shifts", [(), (3,), (5,), (3, 5)])
def test_shift_branches_can_be_left_out(shifts: tuple[int, ...]) -> None:
    m = model(architecture=ArchitectureConfig.from_lists(*LISTS, shifts=shifts))
    branches = {n.split(".")[5] for n, _ in m.named_parameters() if ".shifts." in n}
    assert branches == {str(s) for s in shifts}
    assert m.eval()(IMAGES).isfinite().all()


def test_recu_changes_gradients_but_not_outputs() -> None:
    outputs, gradients = [], []
    for recu in (True, False):
        m = model(recu=recu)
        logits = m.train()(IMAGES)
        logits.square().sum().backward()
        outputs.append(logits.detach())
        gradients.append(m.stages[0][0].mlp.expand.linear.weight.grad)
    assert torch.equal(*outputs)
    assert not torch.allclose(*gradients)


def test_drop_path_acts_in_training_only() -> None:
    m = model(drop_path_rate=0.5)
    torch.manual_seed(1)
    first = m.eval()(IMAGES)
    assert torch.equal(first, m.eval()(IMAGES))
    m.train()
    assert not torch.equal(m(IMAGES), m(IMAGES))


def test_tiny_builds_without_memory_on_the_meta_device() -> None:
    with torch.device("meta"):
        m = build_model(TINY, BINARY)
    assert {p.device.type for p in m.parameters()} == {"meta"}
    assert sum(p.numel() for p in m.parameters()) == 12652032 + 613285 + 23760  # test_cost.py says of what


def test_every_module_belongs_to_exactly_one_address() -> None:
    m = model(BINARY.with_layers("*.attention", "int8"))
    parts = m.modules_by_address()
    assert list(parts) == ["stem", *ARCHITECTURE.addresses, "head"]
    owned = [id(p) for modules in parts.values() for part in modules for p in part.parameters()]
    assert sorted(owned) == sorted(id(p) for p in m.parameters())


def test_the_regulariser_is_the_mean_distance_of_binary_weights_from_one() -> None:
    m = model(BINARY.with_layers("downsample1", "fp16"))
    layers = m.weight_layers
    terms = {
        a: [(layer.weight.abs() - 1).abs().mean() for layer in group]
        for a, group in layers.items()
        if a not in ("stem", "head", "downsample1")
    }
    everything = torch.stack([t for group in terms.values() for t in group]).mean()
    without = torch.stack([t for a, group in terms.items() if "downsample" not in a for t in group]).mean()
    assert torch.allclose(m.weight_regularizer(), everything)
    assert torch.allclose(m.weight_regularizer(include_downsampling=False), without)
    assert model(PrecisionPlan.uniform("fp32")).weight_regularizer() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "group"}, "norm"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be at least 0 and below 1, but it is 1.0"),
        ({"plan": BINARY.with_layers("nothing", "fp16")}, "matches none of"),
    ],
    ids=["norm", "drop path", "plan"],
)
def test_what_cannot_be_built_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        model(**arguments)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"images must be a \(batch, 3, 96, 96\) tensor"):
        model()(torch.zeros(1, 3, 64, 64))


def test_int8_is_closer_to_full_precision_than_int4() -> None:
    full = model(PrecisionPlan.uniform("fp32")).eval()
    errors = {}
    for name in ("int8", "int4"):
        m = model(PrecisionPlan.uniform(name))
        m.load_state_dict(full.state_dict(), strict=False)
        errors[name] = (m.eval()(IMAGES) - full(IMAGES)).norm() / full(IMAGES).norm()
    assert errors["int8"] < errors["int4"]


def test_evaluating_a_fresh_model_keeps_nothing_of_the_batch() -> None:
    m = model(PrecisionPlan.uniform("int8")).eval()
    before = {k: v.clone() for k, v in m.state_dict().items()}
    m(IMAGES)
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    m.train()(IMAGES)
    steps = [v for k, v in m.state_dict().items() if k.endswith(".step")]
    assert len(steps) > 10
    assert all((s != 1).all() for s in steps)
