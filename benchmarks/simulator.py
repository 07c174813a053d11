"""How many ten-second ECGs a core simulates in a second, and what each step of it takes.

Run as `python -m benchmarks.simulator`; prints a Markdown table for `docs/simulator.md`. Processor time stands beside
the time on the clock, which means little on a machine with other work.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from benchmarks.timing import HEAD, machine, measure
from schemas.ecg import Ecg
from simulator.generate import BLOCK, simulate
from simulator.hospital import HOSPITALS, Hospital
from simulator.parameters import sample_parameters
from simulator.truth import Truth, heart_truths
from simulator.waveform import waveform

_TARGET_PER_S = 2000


def main() -> None:
    """Print the machine, the table of a block's steps, and the rates."""
    print(machine("numpy", "scipy") + f", OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    for name, site in HOSPITALS.items():
        parameters = sample_parameters(np.random.default_rng(1), BLOCK, site)
        steps: dict[str, Callable[[], object]] = {
            "draw the parameters": partial(sample_parameters, np.random.default_rng(1), BLOCK, site),
            "waveform": partial(waveform, parameters, site),
            "truth": partial(heart_truths, parameters, site),
            "all: Ecg and Truth, with texts and faults": partial(_simulated, site),
        }
        print(f"\nSite {name}, {BLOCK} ECGs of 12 x 5000 a call\n\n{HEAD}")
        for what, step in steps.items():
            print(measure(what, step, calls=30).row())
        print()
        for what in ("waveform", "all: Ecg and Truth, with texts and faults"):
            print(f"{what}: {_per_processor_second(steps[what]):.0f} ECGs a second of processor time")
    print(f"\ntarget for the waveform: {_TARGET_PER_S} a second and core")


def _simulated(site: Hospital) -> list[tuple[Ecg, Truth]]:
    return list(simulate(BLOCK, 1, site))


def _per_processor_second(step: Callable[[], object], calls: int = 30) -> float:
    """The median of single calls: processor time, too, grows when another program empties the caches."""
    seconds = []
    for _ in range(calls):
        began = time.process_time()
        step()
        seconds.append(time.process_time() - began)
    return BLOCK / median(seconds)


if __name__ == "__main__":
    main()
