"""Device profiles in space files, studies and records: named by a user, then kept whole and told apart by a digest."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bhvit.device_file import load_device, shipped_devices
from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput
from searcher.schema import from_mapping


def device_from(value: object, where: str) -> DeviceProfile | None:
    """A profile from the name of a shipped one, the path of a file, or its plain data; None is none."""
    if value is None or isinstance(value, DeviceProfile):
        return value
    if not isinstance(value, str | Mapping):
        raise InvalidInput(
            f"{where} must be a device's name ({', '.join(shipped_devices())}), the path of a profile or a whole "
            f"profile, but it is {value!r}."
        )
    if not isinstance(value, str):
        return from_mapping(DeviceProfile, value, where)
    try:
        return load_device(value)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def device_to_plain(profile: DeviceProfile) -> dict[str, Any]:
    """The inverse of `device_from`: all of the profile, so that a study needs no other file."""
    plain = {f.name: getattr(profile, f.name) for f in dataclasses.fields(profile)}
    known = {name: value for name, value in plain.items() if value is not None}  # as older studies have it
    return {**known, "coefficients": dict(profile.coefficients)}


@functools.cache
def device_id(profile: DeviceProfile) -> str:
    """Name and digest of the whole profile (`avx512-1f3a9c02d4`): by what a record's latency was predicted."""
    text = json.dumps(device_to_plain(profile), sort_keys=True, separators=(",", ":"))
    return f"{profile.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
