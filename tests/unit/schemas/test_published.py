"""The published contracts are what the code says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.finding import QualityFlag
from schemas.publish import published
from schemas.rejection import Reason


@pytest.mark.parametrize("path", published(), ids=lambda path: path.name)
def test_generated_files_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == published()[path], "run: make schemas"


def test_unknown_fields_and_nan_are_refused() -> None:
    with pytest.raises(ValidationError):
        QualityFlag.model_validate({"lead": "V1", "problem": "flat", "severity": 3})
    with pytest.raises(ValidationError):
        QualityFlag(lead="V1", problem="flat", value=float("nan"))


def test_codes_are_told_apart_by_where_the_fault_lies() -> None:
    faults = {reason.value.split(".")[0] for reason in Reason}
    assert faults == {"payload", "hl7", "dicom", "ecg", "engine", "log", "result", "internal"}
    assert all(reason.meaning.endswith(".") or "please" in reason.meaning for reason in Reason)
