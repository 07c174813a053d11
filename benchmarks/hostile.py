"""What hostile records cost, in processor time of one core, stage by stage: peek, decode, measure, screen, render.

Run as `python -m benchmarks.hostile [WORD...]`; words choose shapes by name. Prints a Markdown table of the dearest.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from types import FrameType

from adapters.inbound import decode, peek_priority
from adapters.log import MAX_VALUE_BYTES
from adapters.recording.site import SiteDefaults
from schemas.rejection import Rejected
from tests.support.dear_recordings import legal
from tests.support.hostile_objects import DICOM
from tests.support.hostile_payloads import HL7
from worker.picture.layout import LAYOUT_NAMES, make_layout
from worker.picture.raster import render_image
from worker.verdict.screening import screen
from worker.waveform.measure import measure

LARGEST = MAX_VALUE_BYTES - 2 * 1024 * 1024  # room for the rest of the record
LIMIT_S = 20.0


class OverLimit(BaseException):
    """A shape took longer than any record may."""


@dataclass
class Cost:
    """Processor seconds by stage, and what became of the record."""

    name: str
    size: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    outcome: str = ""

    @property
    def total_s(self) -> float:
        """From decode to render."""
        return sum(seconds for stage, seconds in self.seconds.items() if stage != "peek")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside."""
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = time.process_time() - began


def cost_of(name: str, payload: bytes, layout_name: str = "3x4+II") -> Cost:
    """Take a record through everything that `prepare` does."""
    cost, site, layout = Cost(name, len(payload)), SiteDefaults(), make_layout(layout_name)
    try:
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        cost.seconds["peek"] = min(_peek_s(payload) for _ in range(5))
        with cost.stage("decode"):
            ecg = decode(payload, site)
        with cost.stage("measure"):
            measured = measure(ecg)
        with cost.stage("screen"):
            screening = screen(ecg, measured)
        with cost.stage("render"):
            render_image(ecg, layout)
        cost.outcome = screening.reason
    except Rejected as rejected:
        cost.outcome = f"{rejected.reason}: {rejected.detail}"
    except OverLimit:
        cost.outcome = "over the limit"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return cost


def _peek_s(payload: bytes) -> float:
    """Wall time: a process's own is not counted in parts of a millisecond everywhere."""
    began = time.perf_counter()
    peek_priority(payload, ())
    return time.perf_counter() - began


def _over(_: int, __: FrameType | None) -> None:
    raise OverLimit


def costs(shapes: Mapping[str, Callable[[int], bytes]], size: int) -> Iterator[Cost]:
    """The cost of each shape at a size."""
    for name, make in shapes.items():
        payload = make(size)
        if len(payload) > MAX_VALUE_BYTES:
            print(f"{name}: {len(payload)} bytes, refused for its size", file=sys.stderr)
            continue
        cost = cost_of(name, payload)
        if cost.total_s > 1 or cost.seconds["peek"] > 0.001:
            print(
                f"{cost.name}: {cost.total_s:.1f} s, peek {cost.seconds['peek'] * 1e3:.1f} ms, {cost.outcome}",
                file=sys.stderr,
            )
        yield cost


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--size", type=int, default=LARGEST)
    parser.add_argument("--rows", type=int, default=25)
    arguments = parser.parse_args()
    signal.signal(signal.SIGPROF, _over)
    chosen = {
        f"{kind} {name}": make
        for kind, shapes in (("HL7", HL7), ("DICOM", DICOM))
        for name, make in shapes.items()
        if all(word in f"{kind} {name}" for word in arguments.words)
    }
    found = list(costs(chosen, arguments.size))
    for layout_name, (name, make) in product(LAYOUT_NAMES, legal().items()):
        if all(word in f"legal {name}" for word in arguments.words):
            found.append(cost_of(f"legal {name}, drawn as {layout_name}", make(), layout_name))
    print(
        f"{len(found)} shapes of {arguments.size} bytes\n\n"
        "| shape | bytes | peek ms | decode s | measure s | render s | outcome |"
    )
    print("|---|---|---|---|---|---|---|")
    for cost in sorted(found, key=lambda cost: -cost.total_s)[: arguments.rows]:
        stages = " | ".join(f"{cost.seconds.get(stage, 0):.3f}" for stage in ("decode", "measure", "render"))
        print(f"| {cost.name} | {cost.size} | {cost.seconds['peek'] * 1e3:.2f} | {stages} | {cost.outcome} |")
    worst = max(found, key=lambda cost: cost.seconds["peek"])
    print(f"\nSlowest peek: {worst.seconds['peek'] * 1e3:.2f} ms ({worst.name})")


if __name__ == "__main__":
    main()
