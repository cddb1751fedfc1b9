"""Peak memory of a program that does nothing but load a model and run it once: a fresh process for each.

Run as a program: `peak_memory.py FILE THREADS [SET]` prints the bytes. It imports numpy and the file's runtime alone.
"""

from __future__ import annotations

import sys


def peak_of_this_process() -> int:
    """Bytes of the largest resident set so far; code and mapped files count."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):  # not Linux, where getrusage would tell that of the process that started us
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def run_once(path: str, threads: int, instruction_set: str | None) -> None:
    """Load the file and run it on a black image."""
    import numpy as np

    if path.endswith(".bhvit"):
        from bhvit import runtime

        model = runtime.load(path, threads, instruction_set)
        model(np.zeros((1, model.image_size, model.image_size, 3), np.uint8))
        return
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    session.run(None, {image.name: np.zeros((1, *image.shape[1:]), np.float32)})


if __name__ == "__main__":
    run_once(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
    print(peak_of_this_process())
