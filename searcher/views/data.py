"""The known data sets, and one of them: splits, classes, counts, sizes and the digest of the validation split."""

from __future__ import annotations

import statistics
from typing import Any

from rich.console import Group, RenderableType

from searcher.datasets.config import DATASETS, DataConfig
from searcher.datasets.images import pixel_size
from searcher.datasets.listing import SPLITS, ImageList, Listing
from searcher.views.console import table

MEASURED = 1000  # images of a split whose size is looked at, evenly spread


def sources_json() -> list[dict[str, Any]]:
    """The known data sets as plain data."""
    return [
        {
            "name": source.name,
            "about": source.about,
            "needs_root": source.needs_root,
            "options": {
                key: list(option.choices) if option.choices else option.default
                for key, option in source.options.items()
            },
        }
        for source in DATASETS.values()
    ]


def sources_view() -> RenderableType:
    """A row a data set."""
    result = table("data set", "what it is", "other keys of data:")
    for source in DATASETS.values():
        result.add_row(source.name, source.about, ", ".join(source.options))
    return Group(result, "", "`searcher data NAME --root DIR` looks at one, and fetches a public one that is absent.")


def describe(config: DataConfig, listing: Listing) -> dict[str, Any]:
    """A data set as plain data; `shorter_side` is smallest, median, largest in pixels, of up to `MEASURED` images."""
    return {
        "name": listing.name,
        "data": config.identity,
        "fingerprint": listing.fingerprint,
        "validation_digest": listing.val.digest,
        "classes": list(listing.classes),
        "splits": {split: _split(getattr(listing, split), len(listing.classes)) for split in SPLITS},
    }


def listing_view(found: dict[str, Any]) -> RenderableType:
    """What `describe` found."""
    splits = table("split", *((name, "right") for name in ("images", "per class", "measured", "shorter side, px")))
    for split, row in found["splits"].items():
        splits.add_row(
            split, f"{row['images']:,}", _span(row["per_class"]), f"{row['measured']:,}", _span(row["shorter_side"])
        )
    identity = ", ".join(f"{key} {value}" for key, value in found["data"].items() if value and key != "name")
    return Group(
        f"{found['name']}: {len(found['classes'])} classes{identity and f' ({identity})'}",
        "",
        splits,
        "",
        f"classes: {', '.join(found['classes'])}",
        f"validation split {found['validation_digest']}, data set {found['fingerprint']}",
    )


def _split(images: ImageList, classes: int) -> dict[str, Any]:
    step = max(1, -(-len(images) // MEASURED))
    sides = [min(pixel_size(item)) for item in images.items[::step]]
    counts = [images.labels.count(label) for label in range(classes)]
    return {
        "images": len(images),
        "per_class": [min(counts), max(counts)] if len(images) else [],
        "measured": len(sides),
        "shorter_side": [min(sides), round(statistics.median(sides)), max(sides)] if sides else [],
    }


def _span(values: list[int]) -> str:
    """`32` where all are equal, else `90 / 112 / 200`."""
    return " / ".join(map(str, values)) if len(set(values)) > 1 else "".join(map(str, values[:1]))
