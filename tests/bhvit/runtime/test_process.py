"""What a fresh process loads, and how much memory it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bhvit import TINY, PrecisionPlan
from bhvit.runtime.schema import Header
from tests.bhvit.runtime.networks import core, layers_of_widths, written

# Peak memory in MiB (not ru_maxrss: a process inherits that of the one that started it), then modules.
REPORT = """
import sys
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) / 1024, *sorted({name.partition(".")[0] for name in sys.modules}))
"""
RUN = """
import sys
import numpy as np
from bhvit.runtime import load

model = load(sys.argv[1])
side = model.image_size
for _ in range(3):
    model(np.zeros((1, side, side, 3), np.uint8))
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


def peak_and_modules(code: str, *arguments: Path) -> tuple[float, set[str]]:
    """Of a fresh process that runs `code`."""
    command = [sys.executable, "-c", code + REPORT, *map(str, arguments)]
    mib, *modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(mib), set(modules)


def test_running_a_model_loads_neither_torch_nor_what_it_does_not_need(tmp_path: Path) -> None:
    _, modules = peak_and_modules(RUN, written(tmp_path / "m.bhvit", layers_of_widths("binary")))
    assert "numpy" in modules
    assert not modules & {"torch", "timm", "torchvision", "PIL", "yaml", "optuna", "rich", "safetensors", "searcher"}


@pytest.mark.skipif(core() is None, reason="the core is not compiled")
@pytest.mark.parametrize(("width", "limit"), [(1, 14), (3, 39)])
def test_a_model_needs_little_more_memory_than_numpy_alone(width: int, limit: float, tmp_path: Path) -> None:
    """MiB for BHViT-Tiny, file (4 and 21 MiB) and working memory; Python with numpy is about 26."""
    header = Header.of_plan(TINY.scaled(width, width), PrecisionPlan.uniform("binary"))
    peak, _ = peak_and_modules(RUN, written(tmp_path / "m.bhvit", header))
    alone, _ = peak_and_modules("import numpy")
    assert peak - alone <= limit
