"""What `pip install` makes of the core: with a compiler, without one, in place, and for which processors."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.bhvit.runtime.networks import core, layers_of_widths, written

ROOT = Path(__file__).parents[3]
NATIVE = "bhvit/runtime/native"
SOURCES = {
    f"{NATIVE}/{name}" for name in ("CMakeLists.txt", "core.h", "core.cpp", "scalar.cpp", "avx2.cpp", "neon.cpp")
}
# Prints what ran, and from where.
RUN = """
import sys
import numpy as np
from bhvit.runtime import load, model as module
model = load(sys.argv[1], instruction_set=sys.argv[2] if sys.argv[2:] else None)
assert np.isfinite(model(np.zeros((1, model.image_size, model.image_size, 3), np.uint8))).all()
print(model.instruction_set, module.__file__)
"""

pytest.importorskip("setuptools", minversion="77")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what a build reads, without what an earlier build left."""
    tree = tmp_path / "sources"
    unwanted = shutil.ignore_patterns("__pycache__", "_core.*", "trashnet_mini")
    for name in ("bhvit", "searcher"):
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    return tree


def built(sources: Path, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The build backend's hook `what`, as pip calls it; what it made is in `sources`/made."""
    hook = f"from setuptools import build_meta; build_meta.build_{what}('made')"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # cmake may be this environment's
    variables = {**os.environ, "PATH": path, "BHVIT_REQUIRE_CORE": "", **environment}
    return subprocess.run([sys.executable, "-c", hook], cwd=sources, env=variables, capture_output=True, text=True)


def made(sources: Path) -> Path:
    (file,) = (sources / "made").iterdir()
    return file


@pytest.mark.slow
def test_wheel_holds_the_compiled_core_and_serves_every_python(sources: Path) -> None:
    done = built(sources, "wheel", BHVIT_REQUIRE_CORE="1")
    assert done.returncode == 0, done.stderr
    wheel = made(sources)
    assert "-py3-none-linux_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "bhvit/runtime/_core.so" in names
    assert not [name for name in names if "/native/" in name or name.endswith(".log")]


def test_without_a_compiler_the_wheel_is_whole_but_for_the_core(sources: Path, tmp_path: Path) -> None:
    done = built(sources, "wheel", CXX="/bin/false")
    assert done.returncode == 0, done.stderr
    (notice,) = [line for line in done.stderr.splitlines() if "numpy" in line]
    assert notice.startswith(
        "Without its compiled core, bhvit.runtime uses numpy, which is slow (no working C++ compiler)"
    )
    site = tmp_path / "site"
    zipfile.ZipFile(made(sources)).extractall(site)
    assert not (site / "bhvit/runtime/_core.so").exists()
    log = (site / "bhvit/runtime/_core.log").read_text()
    assert notice.startswith(log.splitlines()[0])
    assert "/bin/false" in log
    ran = subprocess.run(
        [sys.executable, "-c", RUN, written(tmp_path / "m.bhvit", layers_of_widths("binary"))],
        cwd=tmp_path, env=without_other_libraries() | {"PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.stdout.split() == ["numpy", str(site / "bhvit/runtime/model.py")]
    assert "_core.log" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def without_other_libraries() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("BHVIT_", "OPENBLAS_"))}


def test_required_core_that_does_not_compile_is_an_error(sources: Path) -> None:
    done = built(sources, "wheel", CXX="/bin/false", BHVIT_REQUIRE_CORE="1")
    assert done.returncode != 0
    assert "The core of bhvit.runtime was not compiled: no working C++ compiler" in done.stderr


def test_errors_of_the_compiler_are_in_the_log(sources: Path) -> None:
    for unit in (sources / NATIVE).glob("*.cpp"):
        unit.write_text("this is no C++")
    built(sources, "editable")
    assert "the compiler reports errors" in (log := (sources / "bhvit/runtime/_core.log").read_text()).splitlines()[0]
    assert "core.cpp" in log


def test_failed_build_in_place_leaves_no_older_core(sources: Path) -> None:
    core = sources / "bhvit/runtime/_core.so"
    core.write_bytes(b"of an earlier version")
    done = built(sources, "editable", CXX="/bin/false")
    assert done.returncode == 0, done.stderr
    assert not core.exists()


def test_core_of_the_source_tree_is_not_taken_for_a_wheels_own(sources: Path) -> None:
    (sources / "bhvit/runtime/_core.so").write_bytes(b"of an earlier version")
    built(sources, "wheel", CXX="/bin/false")
    assert "bhvit/runtime/_core.so" not in zipfile.ZipFile(made(sources)).namelist()


def test_source_distribution_holds_what_the_core_is_compiled_from(sources: Path) -> None:
    (sources / "bhvit/runtime/_core.so").write_bytes(b"compiled")
    done = built(sources, "sdist")
    assert done.returncode == 0, done.stderr
    with tarfile.open(made(sources)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= SOURCES | {"setup.py"}
    assert not [name for name in names if name.endswith(".so")]


@pytest.mark.slow
@pytest.mark.skipif(core() is None or platform.machine() != "x86_64", reason="needs the compiled core on x86-64")
@pytest.mark.skipif(not shutil.which("qemu-x86_64") and "CI" not in os.environ, reason="needs qemu-user")
@pytest.mark.parametrize(("processor", "instruction_sets"), [("Nehalem", ["scalar"]), ("Haswell", ["avx2", "scalar"])])
def test_older_processor_gets_no_instruction_that_it_lacks(
    processor: str, instruction_sets: list[str], tmp_path: Path
) -> None:
    """An emulated one, which ends the process at such an instruction."""
    path = written(tmp_path / "m.bhvit", layers_of_widths("binary"))
    emulated = ["qemu-x86_64", "-cpu", processor, sys.executable, "-c", RUN, str(path)]
    for chosen, wanted in ((instruction_sets[0], []), *((name, [name]) for name in instruction_sets)):
        done = subprocess.run(
            [*emulated, *wanted], cwd=ROOT, env=without_other_libraries(), capture_output=True, text=True
        )
        assert done.stdout.split()[:1] == [chosen], done.stderr
