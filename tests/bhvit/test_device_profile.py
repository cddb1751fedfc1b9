"""Device profiles: read strictly, written so that they read the same."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from bhvit.device_file import SHIPPED, device_yaml, load_device, plain_decimal, shipped_devices
from bhvit.device_profile import COEFFICIENTS, DeviceProfile
from bhvit.errors import InvalidInput

AVX512 = (SHIPPED / "avx512.yaml").read_text()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in AVX512
    path = tmp_path / "mine.yaml"
    path.write_text(AVX512.replace(old, new))
    return path


def test_the_three_shipped_profiles_are_for_one_thread_and_only_the_raspberry_pi_is_estimated() -> None:
    profiles = [load_device(name) for name in shipped_devices()]
    assert {p.name: (p.instruction_set, p.threads, p.estimated) for p in profiles} == {
        "avx512": ("avx512", 1, False),
        "avx2": ("avx2", 1, False),
        "rpi5": ("neon", 1, True),
    }


def test_a_name_is_completed_to_the_nearest() -> None:
    with pytest.raises(
        InvalidInput, match=r"unknown device 'avx51' \(did you mean 'avx512'\?\); use one of: .*FILE.yaml"
    ):
        load_device("avx51")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("threads: 1", "threads: one", "threads must be a whole number, but it is 'one'"),
        ("threads: 1", "threads: true", "threads must be a whole number, but it is True"),
        ("threads: 1", "threads: 0", "threads must be at least 1"),
        ("threads: 1\n", "", "lacks threads; its keys are name,"),
        ("threads: 1", "cores: 1", r"unknown key in .*mine.yaml: 'cores'"),
        ("threads: 1", "threads: 1\nthreads: 1", "the key 'threads' stands twice"),
        ("estimated: false", "estimated: maybe", "estimated must be true or false"),
        ("instruction_set: avx512", "instruction_set: avx51", "did you mean 'avx512'"),
        ("  fp32_mac_ps: ", "  fp32_mac_ps: -", "coefficients must be numbers of at least 0, but fp32_mac_ps is -"),
        ("  fp32_mac_ps: ", "  fp32_mac_ps: .nan #", "fp32_mac_ps is nan"),
        ("  fp32_mac_ps: ", "  fp32_mac_ps: .inf #", "fp32_mac_ps is inf"),
        ("  fp32_mac_ps: ", "  fp32_mac_ps: fast #", "fp32_mac_ps is 'fast'"),
        ("  fp32_mac_ps: ", "  fp33_mac_ps: ", "unknown coefficient 'fp33_mac_ps' .did you mean 'fp32_mac_ps'"),
        (
            "  fp32_mac_ps: ",
            "  # fp32_mac_ps: ",
            "coefficients lack fp32_mac_ps; add them, or run `searcher calibrate`",
        ),
        ("  fp32_mac_ps: ", "  fp16_mac_ps: ", "the key 'fp16_mac_ps' stands twice"),
        ("name: avx512", "name: ''", "name must be printable characters, but it is ''"),
        ("name: avx512", 'name: "a\\eb"', "name must be printable characters, but it is 'a.x1bb'"),
        ("date: '2026-11-24'", "date: yesterday", "date must be a day such as '2026-11-24', but it is 'yesterday'"),
        ("date: '2026-11-24'", "date: '20261124'", "date must be a day such as '2026-11-24', but it is '20261124'"),
        ("threads: 1", "threads: 1\nmedian_error: -1", "median_error must be a number of at least 0, but it is -1"),
        ("threads: 1", "threads: 1\nother_programs: no", "other_programs must be a number of at least 0, but it is F"),
        ("coefficients:", "coefficients: [", "must be valid YAML"),
        (AVX512, "- 1\n", "must be a mapping of keys to values"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        load_device(changed(tmp_path, old, new))
    assert "mine.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml must be a readable file"):
        load_device(tmp_path / "nowhere.yaml")


def test_a_written_profile_reads_the_same_and_explains_its_coefficients(tmp_path: Path) -> None:
    coefficients = {name: 0.0123 * 10**i for i, name in enumerate(COEFFICIENTS)}
    profile = DeviceProfile("mine", "a: 'test' #1", "Ünit", "avx2", 2, False, "2026-11-24", "0.6", coefficients)
    path = tmp_path / "mine.yaml"
    path.write_text(device_yaml(profile), encoding="utf-8")
    assert load_device(path) == profile
    for name, meaning in COEFFICIENTS.items():
        assert any(name in line and meaning in line for line in path.read_text().splitlines())


def test_how_well_a_profile_predicted_is_kept_and_told(tmp_path: Path) -> None:
    profile = replace(load_device("avx512"), date="2026-12-01", median_error=0.0412, other_programs=0.125)
    path = tmp_path / "mine.yaml"
    path.write_text(device_yaml(profile), encoding="utf-8")
    assert load_device(path) == profile
    assert profile.origin == "measured 2026-12-01, median error 4.1 %, other programs 12.5 % of the time"
    assert load_device("rpi5").origin == "estimated, not measured"
    assert "median_error" not in device_yaml(load_device("avx512"))


def test_a_profile_survives_pickling() -> None:
    profile = replace(load_device("avx512"), median_error=0.04)
    assert pickle.loads(pickle.dumps(profile)) == profile
    assert hash(pickle.loads(pickle.dumps(profile))) == hash(profile)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1.1, "1.1"), (0.02714, "0.0271"), (1234.5, "1234"), (100, "100")]
)
def test_numbers_are_written_as_plain_decimals(value: float, text: str) -> None:
    assert plain_decimal(value) == text
