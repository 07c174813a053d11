"""Where examples come from, as it is stated on a command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from schemas.ecg import Ecg
from simulator.hospital import HOSPITALS
from training.data.recorded import DataError, RecordedExamples
from training.data.synthetic import NO_AUGMENTATION, Augmentation, Synthetic
from worker.picture.layout import Layout

_SIMULATED: Final = "simulated:"
FORMS: Final = "simulated:SITE:SEED:COUNT[:varied], a JSONL file, or a folder with labels.jsonl or truth.jsonl"

ExampleSource = Synthetic | RecordedExamples


def open_data(stated: str, layout: Layout, decode: Callable[[bytes], Ecg]) -> ExampleSource:
    """The examples that are meant, drawn in this layout; `decode` reads recorded files. Raises DataError."""
    if not stated.startswith(_SIMULATED):
        return RecordedExamples(Path(stated), decode, layout)
    match stated.removeprefix(_SIMULATED).split(":"):
        case [("A" | "B") as site, seed, count, *how] if (
            seed.isdecimal() and count.isdecimal() and how in ([], ["varied"])
        ):
            return Synthetic(HOSPITALS[site], int(seed), int(count), layout, Augmentation() if how else NO_AUGMENTATION)
    raise DataError(f"{stated} is none of: {FORMS}.")
