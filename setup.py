"""Compiles the core of the packed runtime (bhvit/runtime/native) where it can; all else stands in pyproject.toml.

Where it cannot, the package installs all the same and runs packed models with numpy: a line says so here, and again
where a model is loaded; what the tools printed is then in `bhvit/runtime/_core.log`. With BHVIT_REQUIRE_CORE=1 that is
an error. CXX and CXXFLAGS have their usual meaning.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = Path("bhvit/runtime/native")


def missing_tools() -> list[str]:
    """What pip has to download for the build: a compiler is all that a system must have."""
    cmake = [] if shutil.which("cmake") else ["cmake>=3.18"]
    ninja = [] if shutil.which("ninja") or shutil.which("make") else ["ninja"]
    return cmake + ninja


class NotCompiled(Exception):
    """Why there is no core, and what the tools printed."""

    def __init__(self, reason: str, output: str):
        super().__init__(reason)
        self.output = output


class BuildCore(build_ext):
    """CMake in place of distutils' compiler: the core is a plain shared library for ctypes that knows no Python."""

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", os.sep) + ".so"

    def build_extension(self, ext: Extension) -> None:
        library = Path(self.get_ext_fullpath(ext.name))
        folder = NATIVE.parent if self.editable_mode else library.parent
        log = folder / "_core.log"
        for old in (folder / library.name, log):  # what an earlier build left must not pass for this one's
            old.unlink(missing_ok=True)
        try:
            compile_core(library)
        except NotCompiled as error:
            if os.environ.get("BHVIT_REQUIRE_CORE", "0") not in ("", "0"):
                sys.exit(f"{error.output}\nThe core of bhvit.runtime was not compiled: {error}")
            notice = f"Without its compiled core, bhvit.runtime uses numpy, which is slow ({error})"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"{notice}\n\n{error.output}")
            print(f"{notice}; see {log}", file=sys.stderr)


def compile_core(library: Path) -> None:
    """Build `library`; raises `NotCompiled`."""
    output = ""
    with tempfile.TemporaryDirectory() as build:
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        for reason, command in (
            ("no working C++ compiler", ["cmake", "-S", str(NATIVE), "-B", build, *generator]),
            ("the compiler reports errors", ["cmake", "--build", build, "--parallel", str(os.cpu_count() or 1)]),
        ):
            try:
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
                )
            except FileNotFoundError:
                raise NotCompiled("cmake is not installed", output) from None
            output += f"$ {' '.join(command)}\n{done.stdout}\n"
            if done.returncode:
                raise NotCompiled(reason, output)
        library.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(build) / library.name, library)


class CoreWheel(bdist_wheel):
    """One wheel a platform serves every Python, since the core is no Python module."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    setup_requires=missing_tools(),
    ext_modules=[Extension("bhvit.runtime._core", sources=[], optional=True)],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": CoreWheel},
)
