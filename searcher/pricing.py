"""Latencies of trials by the device of a space: predicted anew where another device, or none, was known before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from searcher.device_profiles import device_id
from searcher.grid import Codes, Grid
from searcher.records import TrialRecord
from searcher.space import Space


def priced(space: Space, records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The records with the latency that the device of `space` predicts; without any where latency is none of its costs.

    Their candidates are not parsed: latencies follow from their choices.
    """
    known = list(records)
    if space.device is None or "latency" not in space.quantities:
        return [record.changed(latency_seconds=None, device="") if record.device else record for record in known]
    own = device_id(space.device)
    places = [i for i, record in enumerate(known) if record.device != own]
    if places:
        codes = np.array([space.digits_of(known[i].choices) for i in places], np.uint8)
        for i, latency in zip(places, _latencies(space, codes.reshape(len(places), -1)), strict=True):
            known[i] = known[i].changed(latency_seconds=latency, device=own)
    return known


def _latencies(space: Space, codes: Codes) -> Iterator[float]:
    for block in Grid(space).at(codes):
        assert block.latency_seconds is not None
        yield from map(float, block.latency_seconds)
