"""The command that writes synthetic ECGs with known truth."""

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from cli import output

_TRUTH_FILE: Final = "truth.jsonl"


class Site(StrEnum):
    """The hospitals that are simulated."""

    A = "A"
    B = "B"


def simulate(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="folder for the files, new or empty", file_okay=False)
    ],
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, max=10**6, help="number of ECGs")] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="S", min=0, help="the same seed gives the same ECGs")] = 0,
    site: Annotated[Site, typer.Option("--site", help="hospital: gain, filter, noise, patients, wording")] = Site.A,
) -> None:
    """Write synthetic 12-lead ECGs as .hl7 and .dcm files, and truth.jsonl with what is true of each.

    The forms take turns: HL7 v2 with NA arrays, chapter 7 waveforms, IHE PCD and an encapsulated DICOM object; DICOM
    12-lead ECG and General ECG. For tests and demonstrations; nothing about a patient can be learned from them.

    Example: ecg-worker simulate -o build/simulated -n 60 --seed 1 --site B
    """
    from simulator import generate
    from simulator.hospital import HOSPITALS
    from simulator.writers.files import write_in_turn

    output.try_folder(out, "--out")
    if any(out.iterdir()):
        raise typer.BadParameter("is not empty", param_hint="--out")
    verdicts: Counter[str] = Counter()
    ecgs = generate.simulate(count, seed, HOSPITALS[site.value])
    with (out / _TRUTH_FILE).open("w", encoding="utf-8") as truths:
        for index in output.track(range(count), "simulating"):
            ecg, truth = next(ecgs)
            written = write_in_turn(ecg, index)
            file = f"{site.value}{seed}-{index:06d}{written.suffix}"
            (out / file).write_bytes(written.payload)
            line = {"file": file, "form": written.variant, **json.loads(truth.to_json())}
            truths.write(json.dumps(line, separators=(",", ":")) + "\n")
            verdicts[truth.verdict] += 1
    output.emit_json({"files": count, "truth": _TRUTH_FILE, "verdicts": dict(sorted(verdicts.items()))})
