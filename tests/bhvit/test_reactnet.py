"""ReActNet against a plain formulation, ResNet-18's counts, and what is refused."""

import itertools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bhvit import PRECISIONS, InvalidInput, PrecisionPlan, cost_of
from bhvit.checkpoint import reference_state_dict
from bhvit.export.onnx import export_fp32, export_qdq
from bhvit.export.packed import pack
from bhvit.reactnet.architecture import RESNET18, ReActNetConfig
from bhvit.reactnet.model import ReActNet

WIDTHS = (8, 12, 16, 20)
ARCHITECTURE = ReActNetConfig.from_lists(WIDTHS, WIDTHS, (1, 2, 1, 1), [1] * 4, image_size=64, num_classes=5)
UNEVEN = ReActNetConfig.from_lists(WIDTHS, (16, 6, 20, 33), (1, 2, 1, 1), [1] * 4, image_size=64, num_classes=5)
PUBLISHED = PrecisionPlan.named("some_fp")


def model(plan=PUBLISHED, architecture=ARCHITECTURE, **options):
    """With no parameter left at 0 or 1, and the statistics of a batch."""
    torch.manual_seed(0)
    m = ReActNet(architecture, plan, **options)
    for name, parameter in m.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 1 if name.endswith("norm.weight") else 0, 0.3)
    return m


def pictures(side=64, batch=4):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def plain(m, images):
    """The network in training, written down with channels first from its state and precisions."""
    state = {name: value.double() for name, value in m.state_dict().items()}
    used = set()

    def tensor(name):
        used.add(name)
        return state[name]

    def norm(x, path):
        weight, bias = tensor(f"{path}.weight"), tensor(f"{path}.bias")
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        scaled = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return scaled * weight[:, None, None] + bias[:, None, None]

    def product(x, path, precision, **geometry):
        weight = tensor(f"{path}.weight")
        if precision == "binary":
            x = torch.where(x >= 0, 1.0, -1.0).double()
            scale = weight.abs().mean((1, 2, 3), keepdim=True)
            weight = torch.where(weight >= 0, scale, -scale)
        return F.conv2d(x, weight, **geometry)

    def residual_conv(x, shortcut, path, precision, stride):
        shifted = x + tensor(f"{path}.conv.shift")[:, None, None]
        y = norm(product(shifted, f"{path}.conv", precision, stride=stride, padding=1), f"{path}.norm")
        c, target = shortcut.shape[1], y.shape[1]
        if path.endswith("conv0"):  # tiled
            shortcut = torch.cat([shortcut] * -(-target // c), 1)[:, :target]
        else:  # averaged
            pooled = F.adaptive_avg_pool1d(shortcut.flatten(2).transpose(1, 2), target)
            shortcut = pooled.transpose(1, 2).unflatten(2, shortcut.shape[2:])
        u = y + shortcut - tensor(f"{path}.rprelu.shift_in")[:, None, None]
        slope = tensor(f"{path}.rprelu.slope")[:, None, None]
        return torch.where(u > 0, u, slope * u) + tensor(f"{path}.rprelu.shift_out")[:, None, None]

    precisions = {address: p.name for address, p in m.layers.items()}
    h = F.conv2d(images.double(), tensor("stem.conv.weight"), stride=2, padding=3)
    h = F.max_pool2d(norm(h, "stem.norm"), 3, 2, 1)
    for i, depth in enumerate(m.architecture.depths):
        for j in range(depth):
            stride, shortcut = (2, None) if i and not j else (1, h)
            if shortcut is None:
                averaged = F.avg_pool2d(h, 2)
                path = f"downsamples.{i - 1}"
                shortcut = norm(product(averaged, f"{path}.conv", precisions[f"downsample{i}"]), f"{path}.norm")
            block = f"stage{i}.block{j}"
            h = residual_conv(h, shortcut, f"stages.{i}.{j}.conv0", precisions[f"{block}.conv0"], stride)
            h = residual_conv(h, h, f"stages.{i}.{j}.conv1", precisions[f"{block}.conv1"], 1)
    logits = h.mean((2, 3)) @ tensor("head.linear.weight").T + tensor("head.linear.bias")
    assert used == {name for name, _ in m.named_parameters()}
    return logits


@pytest.mark.parametrize("architecture", [ARCHITECTURE, UNEVEN], ids=["published form", "other intermediates"])
@pytest.mark.parametrize("precision", ["fp32", "binary", "some_fp"])
@torch.no_grad()
def test_logits_are_those_of_a_plain_formulation(architecture: ReActNetConfig, precision: str) -> None:
    m, images = model(PrecisionPlan.named(precision), architecture).double().train(), pictures().double()
    torch.testing.assert_close(m(images), plain(m, images), rtol=1e-9, atol=1e-9)


def test_resnet18_has_the_weights_and_products_of_torchvisions() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.resnet18().eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            theirs(torch.empty(1, 3, 224, 224))
    weights = sum(p.numel() for p in theirs.parameters() if p.ndim > 1)
    total = cost_of(RESNET18.with_options(num_classes=1000), PUBLISHED).total
    assert sum(total.weights) == weights == 11_678_912
    assert sum(total.macs) == counter.get_total_flops() // 2 == 1_814_073_344


def test_resnet18_costs_what_the_convention_says() -> None:
    report = cost_of(RESNET18.with_options(num_classes=1000), PUBLISHED)
    binary = 2**2 * 115_605_504 + 3 * (57_802_752 + 3 * 115_605_504)  # 3x3 convolutions of 115.6 M, half at a stride
    real = 112**2 * 147 * 64 + 3 * 6_422_528 + 512 * 1000
    assert report.macs_by_precision["binary"] == binary == 1_676_279_808
    assert report.macs_by_precision["fp16"] == real == 137_793_536
    assert report.ops == real + binary / 64 == 163_985_408
    assert report.memory_bytes == 10_985_472 / 8 + 2 * (9_408 + 172_032 + 512_000)


def test_one_block_counted_by_hand() -> None:
    rows = {row.address: row for row in cost_of(UNEVEN, PrecisionPlan.uniform("int8"), "complete").layers}
    conv0, conv1, shortcut = (rows[a] for a in ("stage1.block0.conv0", "stage1.block0.conv1", "downsample1"))
    assert conv0.parameters == 9 * 8 * 6 + 8 + (2 + 3) * 6 + 1  # weight, shift, norm and RPReLU, step
    assert conv0.ops == 8 * 8 * (9 * 8 * 6 + 6 * (8 + 1 + 3))
    assert conv1.ops == 8 * 8 * (9 * 6 * 12 + 12 * (8 + 1 + 3) + 6)  # 6 channels are averaged to the 12
    assert shortcut.parameters == 8 * 12 + 2 * 12 + 1
    assert shortcut.ops == 8 * 8 * 8 * 12 + 16 * 16 * 8 + 8 * 8 * 12 * 8
    assert conv0.memory_bytes == 9 * 8 * 6 + 4 * (8 + 5 * 6 + 1)
    assert rows["stage1.block1.conv0"].macs == 8 * 8 * 9 * 12 * 6


@pytest.mark.parametrize(("precision", "bits"), [("binary", 1), ("int8", 8), ("fp32", 32)])
def test_live_activations_counted_by_hand(precision: str, bits: int) -> None:
    """Maps of 16, 8, 4 and 2 a side; 4 bytes a real value."""
    report = cost_of(UNEVEN, PrecisionPlan.uniform(precision))
    live = {row.address: row.terms.activation_bytes for row in report.layers}
    assert live["stage0.block0.conv0"] == 4 * 256 * (8 + 16) + 256 * 8 * bits / 8
    assert live["downsample1"] == 4 * (256 * 8 + 64 * 12) + 64 * 8 * bits / 8  # the operand is averaged
    assert live["stage1.block0.conv0"] == 4 * (256 * 8 + 64 * 12 + 64 * 6) + 256 * 8 * bits / 8  # shortcut beside it
    assert live["stage1.block0.conv1"] == 4 * 64 * (6 + 12) + 64 * 6 * bits / 8
    assert live["stage1.block1.conv0"] == 4 * 64 * (12 + 6) + 64 * 12 * bits / 8
    assert live["head"] == 4 * 4 * 20
    assert report.total.peak_activation_bytes == live["stem"] == 4 * (3 * 64 * 64 + 32 * 32 * 8)


def test_bits_of_operands_fill_whole_bytes() -> None:
    smallest = UNEVEN.with_options(image_size=32)  # one token after stage 3
    rows = {row.address: row.terms for row in cost_of(smallest, PrecisionPlan.uniform("binary")).layers}
    assert rows["stage3.block0.conv1"].activation_bytes == 4 * (33 + 20) + 5


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_every_parameter_gets_a_finite_gradient(precision: str, norm: str) -> None:
    m = model(PrecisionPlan.uniform(precision), UNEVEN, norm=norm).train()
    m(pictures()).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in m.parameters())
    assert all(layer.weight.grad.abs().sum() > 0 for layers in m.weight_layers.values() for layer in layers)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(("binary", "int4", "fp16"), 2)))
def test_any_layer_can_have_any_precision_beside_any_other(first: str, second: str) -> None:
    plan = PrecisionPlan.uniform(first)
    for address in ARCHITECTURE.addresses[::2]:
        plan = plan.with_layers(address, second)
    m = model(plan).train()
    assert m(pictures()).isfinite().all()
    assert [layer.precision.name for layer in m.weight_layers["stage0.block0.conv1"]] == [first]


def test_recu_changes_gradients_but_not_outputs() -> None:
    outputs, gradients = [], []
    for recu in (True, False):
        m = model(recu=recu).train()
        logits = m(pictures())
        logits.square().sum().backward()
        outputs.append(logits.detach())
        gradients.append(m.stages[1][0].conv0.conv.weight.grad)
    assert torch.equal(*outputs)
    assert not torch.allclose(*gradients)


def test_stochastic_depth_drops_convolutions_in_training_only() -> None:
    m, images = model(drop_path_rate=0.5), pictures()
    rates = [(block.conv0.drop_path.rate, block.conv1.drop_path.rate) for stage in m.stages for block in stage]
    assert rates == [(pytest.approx(r), pytest.approx(r)) for r in (0, 0.125, 0.25, 0.375, 0.5)]
    assert torch.equal(m.eval()(images), m(images))
    assert not torch.equal(m.train()(images), m(images))


@pytest.mark.parametrize("side", [32, 96, 160])
def test_any_image_size_that_is_a_multiple_of_32_works(side: int) -> None:
    m = model(architecture=ARCHITECTURE.with_options(image_size=side)).eval()
    assert m.forward_features(pictures(side, 1)).shape == (1, side // 32, side // 32, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 100}, "image_size must be a multiple of 32, but it is 100; use 96."),
        ({"num_heads": [1, 1, 2, 4]}, "num_heads must be 1 in every stage of a ReActNet, which has no attention, but"),
    ],
    ids=["image size", "heads"],
)
def test_impossible_shapes_are_refused(change: dict, message: str) -> None:
    lists = {"embed_dims": WIDTHS, "intermediate_dims": WIDTHS, "depths": [1] * 4, "num_heads": [1] * 4}
    with pytest.raises(InvalidInput) as error:
        ReActNetConfig.from_lists(**(lists | change))
    assert message in str(error.value)


def test_there_are_no_released_names() -> None:
    with pytest.raises(InvalidInput, match=r"but not for ReActNet; use bhvit\.checkpoint"):
        reference_state_dict(model())


@pytest.mark.parametrize("export", [export_fp32, export_qdq, pack])
def test_files_for_other_programs_are_refused_in_one_line(export, tmp_path) -> None:
    m = model()
    arguments = ([pictures()],) if export is export_qdq else ()
    with pytest.raises(InvalidInput, match="but this one is a ReActNet") as error:
        export(m, tmp_path / "file", *arguments)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
