"""How the benchmarks measure: interleaved rounds of one process, medians, ratios."""

import os
import platform
import statistics
import time
from collections.abc import Callable


def interleaved(
    jobs: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each job, all jobs taking turns, after one round to compile."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for lap in range(rounds + 1):
        for name, job in jobs.items():
            began = clock()
            job()
            if lap:
                seconds[name].append(clock() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def pin(cores: int) -> None:
    """Bind this process to its first cores, as `neoteny` does; call before JAX is imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def machine() -> str:
    """What the figures were taken on."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} core(s) used, Python {platform.python_version()}"
