"""The rooms of the house: what each may import, what each does import, and the page that shows both.

`python -m deploy.checks.house` writes the tables and the diagram of `docs/architecture.md`; tests hold the code to the
table and the page to the code.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "architecture.md"

# Words that all rooms of the worker share; each is one file.
SHARED = {
    "worker.prepared", "worker.provenance", "worker.urgency", "worker.redrive_headers", "worker.backfill_header",
}  # fmt: skip

# What delivery, redrive and audit stand on; they never see one another.
BENEATH_THE_ROOF: Final = {
    "worker.stream",
    "worker.history",
    "worker.operations",
    "adapters.log",
    "adapters.deadline",
    "schemas",
    *SHARED,
}

# A room is a package or a module; the longest name that fits is the room of a module. What it may import beside itself
# is named as a room, as a package or as one module. What is not listed is forbidden, and no path is exempt.
ROOMS: Final[dict[str, set[str]]] = {
    "schemas": set(),
    "adapters.deadline": set(),
    "adapters.loopback": set(),
    "adapters.log": {"adapters.deadline", "schemas"},
    "adapters.recording": {"schemas"},
    "adapters.dicom": {"adapters.recording", "schemas"},
    "adapters.hl7v2": {"adapters.dicom", "adapters.recording", "schemas"},
    "adapters.hl7v2.oru": {"adapters.hl7v2.text", "schemas"},
    "adapters.mllp": {"adapters.deadline", "schemas"},
    "adapters.kafka": {"adapters.log", "adapters.deadline", "adapters.loopback"},
    "adapters.sqlite": {"adapters.log", "adapters.deadline"},
    "adapters.inbound": {"adapters.dicom", "adapters.hl7v2", "adapters.recording", "adapters.log", "schemas"},
    "adapters.outbound": {"adapters.mllp", "adapters.hl7v2.oru", "adapters.loopback", "schemas"},
    "adapters.open_log": {"adapters.kafka", "adapters.sqlite", "adapters.log"},
    "worker.waveform": {"schemas"},
    "worker.picture": {"schemas"},
    "worker.model": {"worker.picture.layout", "schemas"},
    "worker.engine": {"worker.model", "worker.urgency", "schemas"},
    "worker.verdict": {"worker.waveform", "worker.engine.question", "schemas"},
    "worker.operations": {"schemas"},
    "worker.history": {"adapters.log", "schemas"},
    "worker.prepared": {"worker.verdict.screening", "worker.engine.question", "worker.model.facts", "schemas"},
    "worker.provenance": {"schemas"},
    "worker.urgency": {"schemas"},
    "worker.redrive_headers": {"adapters.log", "schemas"},
    "worker.backfill_header": {"adapters.log"},
    "worker.pipeline": {
        "worker.waveform",
        "worker.picture",
        "worker.verdict",
        "worker.engine.question",
        "worker.model.facts",
        "adapters.log",
        "schemas",
        *SHARED,
    },
    "worker.stream": {
        "worker.pipeline",
        "worker.picture.layout",
        "worker.engine.question",
        "worker.operations",
        "adapters.log",
        "adapters.deadline",
        "schemas",
        *SHARED,
    },
    "worker.delivery": {*BENEATH_THE_ROOF},
    "worker.redrive": {*BENEATH_THE_ROOF},
    "worker.audit": {*BENEATH_THE_ROOF},
    "simulator": {"adapters.dicom", "adapters.hl7v2.text", "adapters.recording", "schemas"},
    "training": {
        "worker.waveform", "worker.picture", "worker.model", "worker.engine", "worker.verdict", "simulator", "schemas",
    },
    "cli": {"schemas", "adapters", "worker", "simulator", "training"},
}  # fmt: skip

# What each room is for, as the page says it.
PURPOSE: Final[dict[str, str]] = {
    "schemas": "what travels: Ecg, Finding, Rejection, their JSON Schemas; errors meant for people",
    "adapters.deadline": "waits that end",
    "adapters.loopback": "whether a host is this machine",
    "adapters.log": "the Log protocol, its errors, and what a log takes at most",
    "adapters.recording": "what every inbound format has in common: leads, site, assembling an Ecg",
    "adapters.dicom": "DICOM Part 10 waveform objects to an Ecg",
    "adapters.hl7v2": "HL7 v2 messages to an Ecg",
    "adapters.hl7v2.oru": "a finding to an outbound HL7 v2 message",
    "adapters.mllp": "HL7 over TCP, with acknowledgements",
    "adapters.kafka": "the Log on Apache Kafka",
    "adapters.sqlite": "the Log in one file",
    "adapters.inbound": "the door in: bytes to an Ecg, whichever format",
    "adapters.outbound": "the door out: a URL to a receiver of findings",
    "adapters.open_log": "the door to the log: a URL to a Log",
    "worker.waveform": "numbers from the waveform: spectrum, beats, delineation, amplitudes, quality",
    "worker.picture": "the waveform as an image: layout, traces, raster, vector",
    "worker.model": "what a model directory is: manifest, bundle, prompt, vision tower, export",
    "worker.engine": "how a model is run: slots, cache, grammar, decoder, fence, scheduler",
    "worker.verdict": "screening, claims, grounding, assessment, flag",
    "worker.operations": "health, metrics, logs, watchdog, garbage collection",
    "worker.history": "what the log holds already: results, records by coordinates, intervals",
    "worker.prepared": "an ECG on its way, before the model is asked",
    "worker.provenance": "what made a finding: digests, the model's identity, the version",
    "worker.urgency": "who is next: STAT before routine, and nobody waits for ever",
    "worker.redrive_headers": "how a record says that it was put back",
    "worker.backfill_header": "how a record says that it is put in for the record only",
    "worker.pipeline": "the page on which the product reads: from a record to a finding",
    "worker.stream": "session, stages, ledger, transactions: the pipeline on a log",
    "worker.delivery": "flagged findings to a receiver",
    "worker.redrive": "rejected records put back, or given up",
    "worker.audit": "a past interval read again, and compared",
    "simulator": "synthetic ECGs with known truth, in every inbound format",
    "training": "data, methods, models and evaluation of ECG-R1",
    "cli": "the roof: commands, settings, and the wiring that chooses the concrete parts",
}

LAYERS: Final = sorted({room.split(".")[0] for room in ROOMS})
HOUSE: Final = {*LAYERS, "inbox", "benchmarks", "deploy", "tests"}
FORMATS: Final = re.compile(r"\b(?:hl7\w*|dicom\w*|fhir\w*|kafka\w*|sqlite\w*)\b")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the house with its file."""
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            if path.name != "__init__.py":
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts), path


MODULES: Final = dict(modules())


def imports(path: Path) -> Iterator[str]:
    """What a module imports of the house, as modules where they are modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in HOUSE)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            package = node.module or ""
            if package.split(".")[0] in HOUSE:
                for alias in node.names:
                    full = f"{package}.{alias.name}"
                    yield full if full in MODULES else package


def within(name: str, other: str) -> bool:
    """Whether a module is another, or lies in it."""
    return name == other or name.startswith(other + ".")


def room_of(module: str) -> str | None:
    """The room with the longest name that fits; None if there is none."""
    return max((room for room in ROOMS if within(module, room)), key=len, default=None)


def arrows() -> dict[str, set[str]]:
    """Which rooms each room does import."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module, path in MODULES.items():
        room = room_of(module)
        for name in imports(path):
            other = room_of(name)
            if room is not None and other is not None and other != room:
                found[room].add(other)
    return found


def _shown(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the roof, and without an arrow to a room that is reached through another one: fewer lines, same reach."""
    kept = {room: others for room, others in found.items() if room != "cli"}

    def reach(room: str) -> set[str]:
        return kept[room].union(*map(reach, kept[room]))

    return {room: {o for o in others if all(o not in reach(p) for p in others)} for room, others in kept.items()}


def _diagram(found: dict[str, set[str]]) -> str:
    shown = _shown(found)
    lines = ["```mermaid", "flowchart BT"]
    for layer in LAYERS:
        rooms = [room for room in shown if room.split(".")[0] == layer]
        if not rooms:
            continue
        lines.append(f"  subgraph {layer}_[{layer}]")
        lines += [f"    {room.replace('.', '_')}[{room.partition('.')[2] or room}]" for room in rooms]
        lines.append("  end")
    for room, others in shown.items():
        lines += [f"  {other.replace('.', '_')} --> {room.replace('.', '_')}" for other in sorted(others)]
    return "\n".join([*lines, "```"])


def _named(rooms: set[str]) -> str:
    return ", ".join(f"`{room}`" for room in sorted(rooms)) or "nothing"


def page(text: str) -> str:
    """The page with what is drawn from the code put in anew, between its marks."""
    found = arrows()
    tables = "| room | what it is for | may import beside itself |\n|---|---|---|\n" + "\n".join(
        f"| `{room}` | {PURPOSE[room]} | {'everything' if room == 'cli' else _named(ROOMS[room])} |" for room in ROOMS
    )
    for mark, content in (("rooms", tables), ("diagram", _diagram(found))):
        before, _, rest = text.partition(f"<!-- {mark} -->\n")
        _, _, after = rest.partition(f"<!-- end of {mark} -->\n")
        text = f"{before}<!-- {mark} -->\n{content}\n<!-- end of {mark} -->\n{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
