"""A second reader of packed files, written from `docs/packed_format.md` alone: it shares no code with the first."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

Shape = tuple[int, ...]
ITEMS = {"f": "f32", "h": "f16", "8": "int8", "4": "int4", "2": "int2", "t": "planes", "b": "bits"}
WIDTH = {"f32": 32, "f16": 16, "int8": 8, "int4": 4, "int2": 2, "planes": 2, "bits": 1}


def read_packed(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and tensors, in their natural shapes, of a whole file."""
    magic, version, length, header_crc, rest_crc, size = struct.unpack("<8sIIIIQ", content[:32])
    assert (magic, size) == (b"\x89BHVIT\r\n", len(content))
    assert zlib.crc32(content[32 : 32 + length]) == header_crc
    assert zlib.crc32(content[32 + length :]) == rest_crc
    header = json.loads(content[32 : 32 + length])
    assert version == (2 if set(header["layers"]) & set("2t") else 1)
    arrays, end = {}, 32 + length
    for item in WIDTH:
        members = [t for t in tensors(header) if t[1] == item]
        if members:
            end = (end + 63) // 64 * 64
        for name, _, shape in [t for t in members if in_panels(*t[1:])] + [t for t in members if not in_panels(*t[1:])]:
            start, end = end, end + (int(np.prod(shape)) * WIDTH[item] + 7) // 8
            arrays[name] = decoded(np.frombuffer(content[start:end], np.uint8), item, shape)
    assert end == size
    return header, arrays


def in_panels(item: str, shape: Shape) -> bool:
    if len(shape) < 4 or shape[1] % 16:
        return False
    inputs = shape[2] * shape[3]
    words, pairs = shape[3] % 32 == 0, inputs % 2 == 0
    return {"bits": words, "planes": words, "int2": False, "int8": pairs, "int4": pairs}.get(item, True)


def decoded(stored: np.ndarray, item: str, shape: Shape) -> np.ndarray:
    """The items in natural order."""
    match item:
        case "f32" | "f16":
            items = stored.view("<f4" if item == "f32" else "<f2")
        case "int8":
            items = stored.view(np.int8)
        case "int4":
            nibbles = np.stack((stored & 15, stored >> 4), 1).ravel()[: np.prod(shape)].astype(int)
            items = (nibbles - 16 * (nibbles > 7)).astype(np.int8)
        case "int2":
            pairs = np.stack([stored >> i & 3 for i in (0, 2, 4, 6)], 1).ravel()[: np.prod(shape)].astype(int)
            items = (pairs - 4 * (pairs > 1)).astype(np.int8)
        case "planes":
            signs = np.unpackbits(stored, bitorder="little").astype(np.int8) * 2 - 1
            if in_panels(item, shape):
                groups, columns, taps, channels = shape  # group, panel, plane, tap, word, column, bit
                signs = signs.reshape(groups, columns // 16, 2, taps, channels // 32, 16, 32)
                return (signs.sum(2) // 2).astype(np.int8).transpose(0, 1, 4, 2, 3, 5).reshape(shape)
            return (signs[: 2 * np.prod(shape)].reshape(-1, 2).sum(1) // 2).astype(np.int8).reshape(shape)
        case _:
            items = np.unpackbits(stored, bitorder="little")[: np.prod(shape)].astype(np.int8) * 2 - 1
    if not in_panels(item, shape):
        return items.reshape(shape)
    groups, columns, taps, channels = shape
    if item == "bits":  # group, panel, tap, word, column, bit
        return items.reshape(groups, -1, taps, channels // 32, 16, 32).transpose(0, 1, 4, 2, 3, 5).reshape(shape)
    pairs = 2 if item in ("int8", "int4") else 1  # group, panel, pair of inputs, column, one of the pair
    return items.reshape(groups, columns // 16, -1, 16, pairs).transpose(0, 1, 3, 2, 4).reshape(shape)


def tensors(h: dict[str, Any]) -> list[tuple[str, str, Shape]]:
    """Name, items and natural shape of every tensor, in forward order."""
    found: list[tuple[str, str, Shape]] = []
    letters, layer_norm = iter(h["layers"]), h["norm"] == "layer"
    real = "f32" if set(h["layers"]) == {"f"} else "f16"
    quantizes = bool(set(h["layers"]) & set("bt248"))

    def vectors(name: str, parts: str, *shape: int) -> None:
        found.extend((f"{name}.{part}", "f32", shape) for part in parts.split())

    def norm(name: str, c: int) -> None:
        vectors(name, "scale shift", c)

    def rprelu(name: str, c: int) -> None:
        vectors(name, "shift_in slope shift_out", c)

    def product(name: str, letter: str, shape: Shape, scaled: bool) -> None:
        if letter in "248":
            vectors(name, "activation.step")
        found.append((f"{name}.weight", ITEMS[letter], shape))
        if letter in "bt248" and scaled:
            vectors(name, "scale", shape[0] * shape[1])

    def linear(name: str, letter: str, c: int, n: int) -> None:
        vectors(f"{name}.linear", "shift", c)
        product(f"{name}.linear", letter, (1, n, 1, c), layer_norm)
        norm(f"{name}.norm", n)
        rprelu(f"{name}.rprelu", n)

    def downsampling(name: str, letter: str, c: int, n: int, side: int) -> None:
        plain = letter in "hf" and quantizes if h["downsample_form"] == "auto" else h["downsample_form"] == "plain"
        norm(f"{name}.norm_in", c)
        if not plain:
            vectors(f"{name}.conv", "shift", c)
        product(f"{name}.conv", letter, (1, n, 4, c), layer_norm)
        norm(f"{name}.norm", n)
        if not plain:
            rprelu(f"{name}.rprelu", n)
        vectors(name, "position", side, side, n)

    def mixer(name: str, letter: str, c: int) -> None:
        vectors(name, "shift", c)
        for k in range(3):
            product(f"{name}.convs.{k}", letter, (4, c // 4, 9, c // 4), True)
            vectors(f"{name}.convs.{k}", "bias", c)
            rprelu(f"{name}.rprelus.{k}", c)
        norm(f"{name}.norm", c)

    def projection(name: str, letter: str, c: int) -> None:
        linear(f"{name}.project", letter, c, c)
        vectors(name, "shift", c)
        if letter in "248":
            vectors(name, "activation.step")

    def attention(name: str, letter: str, c: int, heads: int) -> None:
        vectors(name, "summary.mix", c)
        norm(f"{name}.token_norm", c)
        for part in ("query", "key", "value"):
            projection(f"{name}.{part}", letter, c)
        parts = "alpha zero_point" if letter in "bt" else "step" if letter in "248" else ""
        vectors(f"{name}.probability", parts, heads)
        norm(f"{name}.norm", c)
        rprelu(f"{name}.rprelu", c)
        vectors(name, "mix", c)
        linear(f"{name}.output", letter, c, c)
        vectors(f"{name}.layer_scale", "alpha shift", c)

    def global_attention(name: str, letter: str, c: int, heads: int, reduction: int) -> None:
        projection(f"{name}.query", letter, c)
        if reduction > 1:
            linear(f"{name}.reduction", letter, c, c)
        projection(f"{name}.key", letter, c)
        projection(f"{name}.value", letter, c)
        if letter in "bt":
            vectors(f"{name}.probability", "step")
        elif letter in "248":
            vectors(f"{name}.probability", "step", heads)
        norm(f"{name}.norm", c)
        rprelu(f"{name}.rprelu", c)
        linear(f"{name}.output", letter, c, c)
        if h["layer_scale"]:
            vectors(f"{name}.layer_scale", "alpha shift", c)

    dims, side = h["embed_dims"], h["image_size"] // 4
    found.append(("stem.conv.weight", real, (1, dims[0], 1, 48)))
    vectors("stem.conv", "bias", dims[0])
    norm("stem.norm", dims[0])
    vectors("stem", "position", side, side, dims[0])
    for i, (c, inner, depth, heads) in enumerate(
        zip(dims, h["intermediate_dims"], h["depths"], h["num_heads"], strict=True)
    ):
        if i:
            downsampling(f"downsamples.{i - 1}", next(letters), dims[i - 1], c, side // 2**i)
        for block in (f"stages.{i}.{j}" for j in range(depth)):
            norm(f"{block}.norm_before", c)
            if h["family"] == "binaryvit":
                global_attention(f"{block}.mixer", next(letters), c, heads, h["reductions"][i])
            elif i < 2:
                mixer(f"{block}.mixer", next(letters), c)
            else:
                attention(f"{block}.mixer", next(letters), c, heads)
            letter = next(letters)
            norm(f"{block}.norm_after", c)
            linear(f"{block}.mlp.expand", letter, c, inner)
            linear(f"{block}.mlp.project", letter, inner, c)
            if h.get("layer_scale", True):
                vectors(f"{block}.mlp.layer_scale", "alpha shift", c)
            directions = ("height", "width", "quarters") if h["family"] == "bhvit" else ("height", "width")
            for direction in directions:
                for branch in h["shifts" if h["family"] == "bhvit" else "pools"]:
                    vectors(f"{block}.shifts.{direction}.{branch}", "alpha shift", c)
    norm("head.norm", dims[3])
    found.append(("head.linear.weight", real, (1, h["num_classes"], 1, dims[3])))
    vectors("head.linear", "bias", h["num_classes"])
    return found
