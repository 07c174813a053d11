"""What a scenario came to, kept as a file, told in a line, and as a row of the table."""

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import kafka

from tests.faults.cluster import BROKERS
from tests.faults.trial import Amount, Outcome
from tests.kafka.broker import DEPLOY

HEADINGS: Final = ("inflicted", "records", "lost", "repeated", "outcome", "figures", "again with")
# All of what is shown in three numbers, and what only says that the scenario was one.
UNSHOWN: Final = ("all_s", "under_load")


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario's outcome, and how to see it again."""

    name: str
    ok: bool
    inflicted: str
    failures: list[str]
    report: dict[str, Any]
    figures: dict[str, Any]
    seed: int
    command: str
    kafka: str
    kafka_python: str
    cpus: int
    date: str
    wall_s: float

    @classmethod
    def of(cls, name: str, outcome: Outcome, command: str, seed: int, began: float) -> Self:
        """What has just come out; `began` is by the monotonic clock."""
        return cls(
            name, not outcome.failures, outcome.inflicted, outcome.failures, outcome.report, outcome.figures, seed,
            command, broker_version(), kafka.__version__, os.cpu_count() or 0,
            datetime.now(UTC).isoformat(timespec="seconds"), round(time.monotonic() - began, 1),
        )  # fmt: skip

    def keep(self, out: Path) -> None:
        """Write it to `NAME.json`."""
        (out / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    def line(self) -> str:
        """For a person who waits for it."""
        counts = ", ".join(f"{self.report.get(what, 0)} {what}" for what in ("records", "lost", "duplicated"))
        why = "".join(f"\n       {failure}" for failure in self.failures)
        return f"{'ok' if self.ok else 'FAIL':4}   {self.name} ({self.inflicted}): {counts}; {self.wall_s:.0f} s{why}"

    def cells(self) -> tuple[str, ...]:
        """For the table."""
        shown = {"longest time without a result": f"{self.report.get('gap_s')} s", **self.figures}
        figures = "; ".join(f"{name} {_short(value)}" for name, value in shown.items() if name not in UNSHOWN)
        counts = tuple(str(self.report.get(what, "")) for what in ("records", "lost", "duplicated"))
        verdict = "ok" if self.ok else "; ".join(self.failures)
        return self.inflicted, *counts, verdict, figures, f"`{self.command.removeprefix('python -m ')}`"


def command(name: str, amount: Amount, brokers: int, seed: int) -> str:
    """What to type to run the same again."""
    stated = {
        "records": amount.records, "times": amount.times, "minutes": amount.minutes, "longest": amount.longest_s,
        "brokers": brokers if brokers != BROKERS else 0,
    }  # fmt: skip
    options = "".join(f" --{option} {value:g}" for option, value in stated.items() if value)
    return f"python -m tests.faults {name}{options} --seed {seed}"


def table(out: Path, order: list[str]) -> str:
    """All rows that were kept, as Markdown."""
    rows = [Row(**json.loads(file.read_text())) for name in order if (file := out / f"{name}.json").is_file()]
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def broker_version() -> str:
    """Of the broker that the tests start."""
    found = re.search(r"<kafka\.version>(.*)</kafka\.version>", (DEPLOY / "pom.xml").read_text())
    return found[1] if found else "unknown"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_short(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_short(item) for item in value)
    return str(value)
