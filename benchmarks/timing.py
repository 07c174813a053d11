"""Timing for benchmarks: several calls, sorted; medians and spread, never a single figure."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall times of calls in milliseconds, ascending."""

    name: str
    runs_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The median call."""
        return median(self.runs_ms)

    def row(self, target: str = "") -> str:
        """One line of a Markdown table: median, 10th and 90th percentile, number of calls, target."""
        tenth = len(self.runs_ms) // 10
        low, high = self.runs_ms[tenth], self.runs_ms[-1 - tenth]
        return f"| {self.name} | {self.median_ms:.2f} | {low:.2f} to {high:.2f} | {len(self.runs_ms)} | {target} |"


HEAD = "| what | median ms | 10th to 90th percentile | calls | target |\n|---|---|---|---|---|"


def measure(name: str, call: Callable[[], object], calls: int = 50, warm_up: int = 3) -> Timing:
    """Time `calls` calls after a few that do not count."""
    for _ in range(warm_up):
        call()
    runs_ms = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        runs_ms.append((time.perf_counter() - began) * 1000)
    return Timing(name, tuple(sorted(runs_ms)))


def machine(*packages: str) -> str:
    """What the figures were taken on, and with which versions."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as info:  # noqa: PTH123 - a device, not a path
            cpu = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}"
