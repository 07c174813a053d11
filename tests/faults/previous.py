"""The version before this one, as it was: its sources out of this clone's history, beside today's."""

import functools
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COMMIT: Final = "15154ef"
"""The last commit before records of every kind were fenced. Named anew with each version that is given out."""

SOURCES: Final = ("adapters", "cli", "schemas", "worker", "pyproject.toml")

# It repeats records by itself now and then, for a defect of its client library that this version works round (number 16
# of docs/upstream/kafka-python.md). That is no matter of how the two understand each other: it is mended in the copy.
_MEMBER: Final = "adapters/kafka/member.py"
_BEFORE: Final = "        bring_back_parked_records(self._consumer)\n"
_MEND: Final = """\
        forgetful = type("Forgetful", (dict,), {"__setitem__": lambda *_: None})
        self._consumer._coordinator._offset_fetch_futures = forgetful()
"""


def is_here() -> bool:
    """Whether this clone has the history. One that was made without it cannot show this."""
    looked = subprocess.run(
        ["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, check=False, capture_output=True
    )
    return looked.returncode == 0


@functools.cache
def unpacked() -> Path:
    """The folder to run it from."""
    folder = ROOT / "build" / f"version-{COMMIT}"
    archive = subprocess.run(["git", "archive", COMMIT, *SOURCES], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as sources:
        sources.extractall(folder, filter="data")
    member = (folder / _MEMBER).read_text()
    assert member.count(_BEFORE) == 1
    (folder / _MEMBER).write_text(member.replace(_BEFORE, _MEND + _BEFORE))
    return folder
