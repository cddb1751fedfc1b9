"""A packed file is data from anywhere: what is wrong with it is said in one line, before it costs anything."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bhvit import ArchitectureConfig, InvalidInput, PrecisionPlan
from bhvit.binaryvit.architecture import BinaryViTConfig
from bhvit.runtime.packed_file import HEAD, MAGIC, read, write
from bhvit.runtime.placement import sections_of
from bhvit.runtime.schema import Header, random_arrays
from tests.bhvit.runtime import packed_fuzz
from tests.bhvit.runtime.packed_fuzz import sealed

MIXED = Header.of_plan(
    ArchitectureConfig.from_lists(
        (8, 8, 16, 16), (16, 16, 32, 32), (1,) * 4, (1, 1, 2, 4), image_size=64, window_size=1, num_classes=5
    ),
    PrecisionPlan.uniform("binary")
    .with_layers("downsample*", "fp16")
    .with_layers("stage3.*", "int4")
    .with_layers("stage0.*", "int8")
    .with_layers("stage2.*", "fp32"),
    classes=("a", "b", "c", "d", "e"),
)
HEADER = json.loads(MIXED.to_json())
END = HEAD.size + len(MIXED.to_json())
SECTIONS = {section.item: section for section in sections_of(MIXED, END)}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("honest") / "m.bhvit"
    write(path, MIXED, random_arrays(MIXED))
    return path.read_bytes()


def refusal(content: bytes, folder: Path) -> str:
    """The error of reading `content`, one line, the same whether the file is mapped or copied."""
    path = folder / "m.bhvit"
    path.write_bytes(content)
    messages = []
    for copy in (False, True):
        with pytest.raises(InvalidInput) as error:
            read(path, copy)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{path} is not a packed model that can be used: ")
    assert messages[0].isprintable()
    assert len(messages[0]) < 1000
    return messages[0].removeprefix(f"{path} is not a packed model that can be used: ")


def with_header(honest: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    fields = json.loads(json.dumps(HEADER))
    changed = change(fields)
    text = changed if isinstance(changed, bytes) else json.dumps(fields if changed is None else changed).encode()
    return sealed(text, honest[END:])


def test_the_honest_file_can_be_read(honest: bytes, tmp_path: Path) -> None:
    assert sealed(MIXED.to_json(), honest[END:]) == honest
    (tmp_path / "m.bhvit").write_bytes(honest)
    assert read(tmp_path / "m.bhvit").header == MIXED


def test_a_file_cut_anywhere_is_refused(honest: bytes, tmp_path: Path) -> None:
    borders = {8, HEAD.size, END, *(border for s in SECTIONS.values() for border in (s.start, s.stop))}
    cuts = {b + d for b in borders for d in (-1, 0, 1)} | {o for s in SECTIONS.values() for _, o in s.tensors[::3]}
    cuts = {0, *cuts} - {len(honest), len(honest) + 1}
    assert len(cuts) > 100
    for cut in sorted(cuts):
        message = refusal(honest[:cut], tmp_path)
        expected = "it must have 33 to" if cut <= HEAD.size else f"it must have the {len(honest)} bytes that it states"
        assert message.startswith(expected)
        if cut > END:  # and where the size that it states was corrected
            message = refusal(sealed(MIXED.to_json(), honest[END:cut]), tmp_path)
            assert message == f"its model must need all of its {cut} bytes, but needs {len(honest)}."
    assert refusal(honest + b"\0", tmp_path).startswith(f"it must have the {len(honest)} bytes")
    assert "must need all of its" in refusal(sealed(MIXED.to_json(), honest[END:] + b"\0"), tmp_path)


def test_a_flipped_bit_is_noticed_wherever_it_is(honest: bytes, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    everywhere = draw.integers(END, len(honest), 150)
    for place in [*range(END), *map(int, everywhere), len(honest) - 1]:
        damaged = bytearray(honest)
        damaged[place] ^= 1 << int(draw.integers(8))
        assert refusal(bytes(damaged), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(image_size=10**6), "its model must need all of its"),
        (lambda h: h.update(image_size=65), "image_size must be a multiple of"),
        (lambda h: h.update(image_size=2**20), "its model must need all of its"),
        (lambda h: h.update(image_size=10**9), "image_size must be at most 1048576, but it is 1000000000"),
        (lambda h: h.update(image_size=10**4000), "image_size must be whole and positive in a packed file's header"),
        (
            lambda h: b'{"image_size":' + b"1" * 5000 + b"}",
            "a packed file's header must be JSON in UTF-8, but Exceeds the limit",
        ),
        (
            lambda h: h.update(depths=[10**6, 1, 1, 1]),
            "a packed model has at most 1024 blocks, but depths are [1000000,",
        ),
        (lambda h: h.update(depths=[1021, 1, 1, 1]), "must name a precision for each of its 2051 layers"),
        (lambda h: h.update(depths=[0, 1, 1, 2]), "depths must be whole and positive"),
        (lambda h: h.update(depths=[1, 1, 1]), "depths must be a list of 4"),
        (lambda h: h.update(depths=[1, 1, 1, True]), "depths must be whole and positive"),
        (lambda h: h.update(depths=[1, 1, 1, 1.0]), "depths must be whole and positive"),
        (lambda h: h.update(depths={"0": 1}), "depths must be a list of 4"),
        (lambda h: h.update(depths=[1, 1, 2, 1], layers="b" * 13), "its model must need all of its"),
        (lambda h: h.update(depths=[512, 1, 1, 510], layers="b" * 2051), "its model must need all of its"),
        (lambda h: h.update(embed_dims=[8, 8, 16, 2**20]), "its model must need all of its"),
        (lambda h: h.update(embed_dims=[8, 8, 16, 18]), "embed_dim must be a multiple of 4"),
        (lambda h: h.update(num_heads=[1, 1, 3, 4]), "num_heads must divide embed_dim"),
        (lambda h: h.update(num_heads=[2**31, 1, 2, 4]), "stage 0 num_heads must be at most 1048576"),
        (lambda h: h.update(num_classes=6), "there must be a name for each of the 6 classes"),
        (lambda h: h.update(window_size=3), "image_size must be a multiple of 32 * window_size = 96"),
        (lambda h: h.update(shifts=[3, 3]), "shifts must be distinct"),
        (lambda h: h.update(shifts=[3] * 100_000), "shifts must have at most 16 entries, but it is [3, 3"),
        (lambda h: h.update(layers="b" * 10), "must name a precision for each of its 11 layers"),
        (lambda h: h.update(layers="x" * 11), "unknown letter in layers 'x'"),
        (lambda h: h.update(layers=["b"] * 11), "layers must be a text"),
        (lambda h: h.update(norm="group"), "unknown norm 'group'"),
        (lambda h: h.update(norm="x\n" * 1000), "unknown norm 'x\\\\nx\\\\n"),
        (lambda h: h.update(norm=["batch"]), "norm must be a text"),
        (lambda h: h.update(norm="layer"), "its model must need all of its"),
        (lambda h: h.update(downsample_form="x" * 100_000), "unknown downsample_form 'xxx"),
        (lambda h: h.update(family="vit"), "unknown family of a packed file 'vit'"),
        (lambda h: h.update(family=None), "unknown family of a packed file 'None'"),
        (lambda h: h.update(classes=["a\x1b[2J", "b", "c", "d", "e"]), "a class name must be 1 to 200 printable"),
        (lambda h: h.update(classes=["\ud800", "b", "c", "d", "e"]), "a class name must be 1 to 200 printable"),
        (lambda h: h.update(classes=["", "b", "c", "d", "e"]), "a class name must be 1 to 200 printable"),
        (lambda h: h.update(classes=["a" * 201, "b", "c", "d", "e"]), "a class name must be 1 to 200 printable"),
        (lambda h: h.update(classes=[1, 2, 3, 4, 5]), "a class name must be 1 to 200 printable"),
        (lambda h: h.update(classes="abcde"), "classes must be a list"),
        (lambda h: h.update(mean=[0, 0]), "mean must be a list of 3"),
        (lambda h: h.update(mean=[0, 0, "0"]), "mean must be a finite number"),
        (lambda h: h.update(mean=[0, 0, 10**400]), "mean must be a finite number"),
        (lambda h: h.update(mean=[0, 0, 1e300]), "mean must be three finite numbers"),
        (lambda h: h.update(std=[1, 1, 0]), "std must be positive"),
        (lambda h: h.update(std=[1, 1, -1]), "std must be positive"),
        (lambda h: h.update(crop_pct=0), "crop_pct must be between"),
        (lambda h: h.update(crop_pct=1e-300), "crop_pct must be between"),
        (lambda h: h.update(interpolation="lanczos"), "unknown interpolation 'lanczos'"),
        (lambda h: h.update(note="hidden"), "unknown key of a packed file's header 'note'"),
        (lambda h: h.update({"x" * 100_000: 1}), "unknown key of a packed file's header 'xxx"),
        (lambda h: h.pop("shifts") and None, "must have all of its keys, but shifts is missing"),
        (lambda h: [h], "must be a JSON object, but it is [{"),
        (lambda h: b"", "must be JSON in UTF-8"),
        (lambda h: b"null", "must be a JSON object, but it is None"),
        (lambda h: b"{", "must be JSON in UTF-8"),
        (lambda h: b"\xff\xfe{}", "must be JSON in UTF-8, but"),
        (lambda h: b"[" * 500_000, "must be JSON in UTF-8, but maximum recursion depth"),
        (lambda h: b'{"a":' * 200_000, "must be JSON in UTF-8, but maximum recursion depth"),
        (lambda h: MIXED.to_json().replace(b"0.875", b"NaN"), "NaN is not a number in JSON"),
        (lambda h: MIXED.to_json().replace(b"0.875", b"1e999"), "crop_pct must be a finite number"),
        (lambda h: MIXED.to_json()[:-1] + b',"norm":"batch"}', "a key occurs twice"),
        (lambda h: MIXED.to_json() + b"{}", "must be JSON in UTF-8, but Extra data"),
    ],
)
def test_a_lying_header_with_a_right_checksum_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, honest: bytes, tmp_path: Path
) -> None:
    assert message in refusal(with_header(honest, change), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reductions": [8, 4, 1]}, "reductions must have 4 numbers, one a stage"),
        ({"reductions": [3, 4, 1, 1]}, "reductions must divide the side of their stage's map, but stage 0 has 3"),
        ({"reductions": [0, 4, 1, 1]}, "reductions must be whole and positive in a packed file's header"),
        ({"reductions": [1] * 100_000}, "reductions must have at most 16 entries, but it is [1, 1"),
        ({"reductions": [2, 4, 1, 1]}, None),  # of the same tensors
        ({"reductions": [1, 4, 1, 1]}, "its model must need all of its"),
        ({"pools": [3, 7]}, "pools must be distinct and among [3, 5], but they are [3, 7]"),
        ({"pools": "35"}, "pools must be a list"),
        ({"layer_scale": False}, "its model must need all of its"),
        ({"layer_scale": 1}, "layer_scale must be true or false in a packed file's header, but it is 1"),
        ({"num_heads": [3, 2, 2, 4]}, "num_heads must divide embed_dim, but stage 0 has num_heads=3, embed_dim=8"),
        ({"window_size": 1}, "unknown key of a packed file's header 'window_size'"),
        ({"family": "bhvit"}, "unknown key of a packed file's header 'reductions'"),
    ],
)
def test_options_of_another_family_and_those_that_it_does_not_allow_are_refused(
    change: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    lists = (8, 8, 16, 16), (16, 16, 32, 32), (1,) * 4, (1, 2, 2, 4)
    architecture = BinaryViTConfig.from_lists(*lists, image_size=64, num_classes=5, reductions=(8, 4, 1, 1))
    header = Header.of_plan(architecture, PrecisionPlan.uniform("binary"))
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    rest = (tmp_path / "m.bhvit").read_bytes()[HEAD.size + len(header.to_json()) :]
    content = sealed(json.dumps(json.loads(header.to_json()) | change, separators=(",", ":")).encode(), rest)
    if message is None:
        (tmp_path / "m.bhvit").write_bytes(content)
        assert read(tmp_path / "m.bhvit").header.architecture.reductions == (2, 4, 1, 1)
    else:
        assert message in refusal(content, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((b"\x89PNG\r\n\x1a\n", 1, None, None, None, None), "it must begin with b'\\x89BHVIT\\r\\n', but begins with"),
        ((MAGIC.replace(b"\r\n", b"\n\0"), 1, None, None, None, None), "it must begin with"),
        ((MAGIC, 3, None, None, None, None), "its format must be version 1 or 2, but is 3; use another version of bhv"),
        ((MAGIC, 2, None, None, None, None), "its format must be version 1, as its precisions say, but is 2"),
        ((MAGIC, 1, 2**32 - 1, None, None, None), "its header must be at most"),
        ((MAGIC, 1, 0, 0, None, None), "must be JSON in UTF-8"),
        ((MAGIC, 1, None, 1, None, None), "its header must have the checksum that it states"),
        ((MAGIC, 1, None, None, 1, None), "its tensors must have the checksum that it states"),
        ((MAGIC, 1, None, None, None, 2**64 - 1), "it must have the 18446744073709551615 bytes that it states"),
    ],
)
def test_a_lying_head_is_refused(fields: tuple[Any, ...], message: str, honest: bytes, tmp_path: Path) -> None:
    true = HEAD.unpack(honest[: HEAD.size])
    lying = HEAD.pack(*(t if f is None else f for f, t in zip(fields, true, strict=True)))
    assert message in refusal(lying + honest[HEAD.size :], tmp_path)


def _offset(name: str) -> int:
    return next(o for section in SECTIONS.values() for t, o in section.tensors if t.name == name)


STEP, ALPHA = "stages.3.0.mlp.expand.linear.activation.step", "stages.2.0.mixer.query.shift"


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (_offset(STEP), struct.pack("<f", 0), f"{STEP} must be at least 1e-08, but it is 0"),
        (_offset(STEP), struct.pack("<f", -1), f"{STEP} must be at least 1e-08, but it is -1"),
        (_offset(STEP), struct.pack("<f", 1e-40), f"{STEP} must be at least 1e-08"),
        (_offset(STEP), struct.pack("<f", np.nan), "every number of a packed model must be finite, but an f32 is not"),
        (_offset(ALPHA), struct.pack("<f", np.inf), "every number of a packed model must be finite, but an f32 is not"),
        (SECTIONS["f32"].stop - 4, struct.pack("<f", -np.inf), "must be finite, but an f32 is not"),
        (SECTIONS["f16"].start, struct.pack("<e", np.nan), "must be finite, but an f16 is not"),
        (SECTIONS["int8"].stop - 1, b"\x80", "int8 weights must be -127 to 127, but one is -128"),
        (SECTIONS["int4"].start, b"\x08", "int4 weights must be -7 to 7, but one is -8"),
        (SECTIONS["int4"].start + 7, b"\x8f", "int4 weights must be -7 to 7, but one is -8"),
        (END, b"\1", "bytes between the sections of a packed file must be 0"),
    ],
)
def test_values_that_no_runtime_could_use_are_refused_though_the_checksum_is_right(
    offset: int, value: bytes, message: str, honest: bytes, tmp_path: Path
) -> None:
    content = honest[:offset] + value + honest[offset + len(value) :]
    assert message in refusal(sealed(MIXED.to_json(), content[END:]), tmp_path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (8, b"\1\0\0\0", "its format must be version 2, as its precisions say, but is 1"),
        ("int2", b"\x02", "int2 weights must be -1 to 1, but one is -2"),
        ("int2", b"\xb0", "int2 weights must be -1 to 1, but one is -2"),
        ("planes", b"\x55\xaa\x00\xff", None),  # all of these mean something
    ],
)
def test_a_file_with_weights_of_two_bits_is_checked(
    offset: int | str, value: bytes, message: str | None, tmp_path: Path
) -> None:
    header = Header.of_plan(
        MIXED.architecture,
        PrecisionPlan.uniform("ternary").with_layers("*.mlp", "int2").with_layers("stage0.*", "fp32"),
    )
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    content, end = (tmp_path / "m.bhvit").read_bytes(), HEAD.size + len(header.to_json())
    if isinstance(offset, str):
        offset = next(s.start for s in sections_of(header, end) if s.item == offset)
    content = content[:offset] + value + content[offset + len(value) :]
    if offset > end:
        content = sealed(header.to_json(), content[end:])
    if message is not None:
        assert message in refusal(content, tmp_path)
        return
    (tmp_path / "m.bhvit").write_bytes(content)
    model = read(tmp_path / "m.bhvit")
    assert all(np.abs(model.natural(t.name)).max() == 1 for t in model.schema.values() if t.item == "planes")


def test_bits_beyond_a_weight_are_refused(tmp_path: Path) -> None:
    narrow = ArchitectureConfig.from_lists((4, 4, 4, 4), (1, 3, 1, 1), (1,) * 4, (1,) * 4, 32, 1, 3)
    header = Header.of_plan(narrow, PrecisionPlan.uniform("binary"))
    write(tmp_path / "m.bhvit", header, random_arrays(header))
    content, end = (tmp_path / "m.bhvit").read_bytes(), HEAD.size + len(header.to_json())
    section = next(s for s in sections_of(header, end) if s.item == "bits")
    partial = [(t, offset + t.size // 8) for t, offset in section.tensors if t.size % 8]
    assert len(partial) > 5
    for tensor, last in partial:
        changed = bytearray(content)
        changed[last] |= 0x80
        message = refusal(sealed(header.to_json(), bytes(changed[end:])), tmp_path)
        assert f"bits after the end of {tensor.name} must be 0" in message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.bhvit").mkdir()
    (tmp_path / "link.bhvit").symlink_to("link.bhvit")
    expected = {
        tmp_path / "folder.bhvit": "a packed file must be a regular file",
        tmp_path / "pipe": "a packed file must be a regular file",
        Path("/dev/zero"): "a packed file must be a regular file",
        tmp_path / "none.bhvit": "No such file or directory",
        tmp_path / "link.bhvit": "Too many levels of symbolic links",
        Path("a\0b"): "null",
        tmp_path / ("x" * 300): "File name too long",
    }
    for path, message in expected.items():
        with pytest.raises(InvalidInput) as error:
            read(path)
        assert message in str(error.value)


def test_a_huge_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "m.bhvit").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidInput, match="it must have 33 to 4294967296 bytes, but has 1099511627776"):
        read(tmp_path / "m.bhvit")


def test_a_copied_model_outlives_what_becomes_of_its_file(honest: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.bhvit"
    path.write_bytes(honest)
    model = read(path, copy=True)
    os.truncate(path, 0)
    arrays = random_arrays(MIXED)
    for name in arrays:
        np.testing.assert_array_equal(model.natural(name), arrays[name])


QUICK = 5
FUZZING = [
    pytest.param(QUICK, id="quick"),
    pytest.param(int(os.environ.get("BHVIT_FUZZ_SECONDS", 180)), id="minutes", marks=[pytest.mark.slow]),
    pytest.param(int(os.environ.get("BHVIT_FUZZ_SECONDS", 3600)), id="hour", marks=[pytest.mark.long]),
]


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seconds", FUZZING)
def test_no_mutated_file_does_harm(seconds: int, tmp_path: Path) -> None:
    """In a process of its own, whose death leaves the file that caused it; BHVIT_FUZZ_SECONDS sets another duration."""
    seed = 0 if seconds == QUICK else int.from_bytes(os.urandom(4), "little")
    arguments = [str(tmp_path), str(seconds), str(seed)]
    try:
        subprocess.run([sys.executable, "-c", ""], check=True)
    except OSError:  # an emulated Python cannot start itself
        packed_fuzz.main(*arguments)
        return
    command = [sys.executable, "-m", packed_fuzz.__name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * seconds + 300)
    print(done.stdout)
    assert done.returncode == 0, f"seed {seed}, last file {tmp_path / 'case.bhvit'}\n{done.stderr[-3000:]}"
