"""Examples from a hospital's own files: HL7 v2 or DICOM, with a label and, if there is any, the clinical text.

A folder holds `labels.jsonl`, or the `truth.jsonl` of `ecg-worker simulate`; a JSONL file may stand anywhere. One line
a file: {"file": PATH relative to the JSONL, "ischemic": true|false, "text": ["..."] instead of the file's own texts,
"reasoning": "..." that a reader wrote}. An ECG that the worker would not ask the model about is left out and counted.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.ecg import Ecg
from schemas.errors import WorkerError
from schemas.rejection import Rejected
from training.data.example import Example, MadeExamples
from training.data.reasoning import reasoning_from_waveform
from worker.model.facts import PromptFacts
from worker.picture.layout import Layout
from worker.picture.raster import render_image
from worker.verdict.screening import screen
from worker.waveform.measure import measure

_LABELS: Final = ("labels.jsonl", "truth.jsonl")
_VERDICTS: Final = {"ischemic": True, "non_ischemic": False}


class DataError(WorkerError):
    """The data cannot be learned from; the message names the line, and no patient."""


@dataclass(frozen=True, slots=True)
class _Line:
    file: Path
    ischemic: bool
    texts: tuple[str, ...] | None
    reasoning: str | None
    entity: str | None
    inverted: tuple[str, ...] | None


class RecordedExamples(MadeExamples):
    """The examples of a JSONL file, read from their files whenever they are asked for.

    `left_out` counts the lines that are no examples, by reason: a rejection's code, or that of screening.
    """

    def __init__(self, path: Path, decode: Callable[[bytes], Ecg], layout: Layout) -> None:
        """Look at every file once. Raises DataError if a line is wrong or nothing is left."""
        self._decode = decode
        self._layout = layout
        self.left_out: Counter[str] = Counter()
        self._lines: list[_Line] = []
        digest = hashlib.sha256()
        for line in _read(_labels(path)):
            payload = line.file.read_bytes()
            if reason := self._why_not(payload):
                self.left_out[reason] += 1
                continue
            self._lines.append(line)
            digest.update(hashlib.sha256(payload).digest() + repr(line).encode())
        if not self._lines:
            raise DataError(f"{path} holds no ECG that the model would be asked about: {dict(self.left_out)}.")
        self.digest = digest.hexdigest()
        self.source = f"{path.name}: {len(self._lines)} examples, left out {dict(self.left_out)}"

    def __len__(self) -> int:
        return len(self._lines)

    def make(self, at: int) -> Example:
        """The example at this place, read from its file."""
        line = self._lines[at]
        ecg = self._decode(line.file.read_bytes())
        measured = measure(ecg)
        texts = ecg.order.clinical_texts if line.texts is None else line.texts
        return Example(
            name=f"line {at + 1}",
            image=render_image(ecg, self._layout),
            facts=PromptFacts(ecg.patient.age_years, ecg.patient.sex, texts),
            ischemic=line.ischemic,
            measured=measured,
            reasoning=line.reasoning or reasoning_from_waveform(measured, line.ischemic),
            entity=line.entity,
            inverted=line.inverted,
        )

    def _why_not(self, payload: bytes) -> str | None:
        try:
            ecg = self._decode(payload)
        except Rejected as rejected:
            return str(rejected.reason)
        screening = screen(ecg, measure(ecg))
        return None if screening.verdict is None else screening.reason


def _labels(path: Path) -> Path:
    if path.is_file():
        return path
    for name in _LABELS:
        if (path / name).is_file():
            return path / name
    raise DataError(f"{path} is neither a JSONL file nor a folder with {' or '.join(_LABELS)}.")


def _read(labels: Path) -> list[_Line]:
    lines = []
    for number, text in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        try:
            fields = json.loads(text)
            ischemic = _ischemic(fields)
            if ischemic is None:
                continue
            inverted = fields.get("leads")
            line = _Line(
                file=labels.parent / str(fields["file"]),
                ischemic=ischemic,
                texts=_texts(fields.get("text")),
                reasoning=fields.get("reasoning"),
                entity=fields.get("entity"),
                inverted=None if inverted is None else tuple(inverted),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(
                f'{labels}, line {number}: {{"file": "...", "ischemic": true|false, ...}} is wanted.'
            ) from None
        if not line.file.is_file():
            raise DataError(f"{labels}, line {number}: the file is missing.")
        lines.append(line)
    return lines


def _ischemic(fields: dict[str, Any]) -> bool | None:
    """The label; None for a line of `truth.jsonl` to which the question does not apply."""
    if "verdict" in fields:
        return _VERDICTS.get(fields["verdict"])
    if not isinstance(fields["ischemic"], bool):
        raise TypeError
    return bool(fields["ischemic"])


def _texts(stated: object) -> tuple[str, ...] | None:
    """Clinical texts that replace those of the file. `truth.jsonl` says with a word how its own were made."""
    if not isinstance(stated, list):
        return None
    if not all(isinstance(text, str) for text in stated):
        raise TypeError
    return tuple(stated)
