"""Where examples come from, as it is stated on a command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from schemas.ecg import Ecg
from simulator.hospital import HOSPITALS
from training.data.recorded import DataError, Recorded
from training.data.synthetic import AS_SERVED, Synthetic, Variety
from worker.picture.layout import Layout

_SIMULATED: Final = "simulated:"
FORMS: Final = "simulated:SITE:SEED:COUNT[:varied], a JSONL file, or a folder with labels.jsonl or truth.jsonl"

DataSet = Synthetic | Recorded


def open_data(stated: str, layout: Layout, decode: Callable[[bytes], Ecg]) -> DataSet:
    """The examples that are meant, drawn in this layout; `decode` reads recorded files. Raises DataError."""
    if not stated.startswith(_SIMULATED):
        return Recorded(Path(stated), decode, layout)
    match stated.removeprefix(_SIMULATED).split(":"):
        case [("A" | "B") as site, seed, count, *how] if (seed + count).isdecimal() and how in ([], ["varied"]):
            return Synthetic(HOSPITALS[site], int(seed), int(count), layout, Variety() if how else AS_SERVED)
    raise DataError(f"{stated} is none of: {FORMS}.")
