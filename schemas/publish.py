"""Writes what is generated from the contracts: `schemas/json/*.json`, and tables in `docs/rejections.md` and `ehr.md`.

Run as `python -m schemas.publish`. A test fails while a file differs from what this would write.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from schemas.audit_report import AuditReport
from schemas.delivery import DeliveryReason, DeliveryRejection
from schemas.finding import Finding
from schemas.rejection import Reason, Rejection

ROOT: Final = Path(__file__).parent.parent
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TABLE_HEAD: Final = "| code | meaning |\n|---|---|\n"


def published() -> dict[Path, str]:
    """Every generated file with the text that it must hold."""
    rejections, ehr = ROOT / "docs" / "rejections.md", ROOT / "docs" / "ehr.md"
    return {
        ROOT / "schemas" / "json" / "finding-1.json": _schema(Finding),
        ROOT / "schemas" / "json" / "rejection-1.json": _schema(Rejection),
        ROOT / "schemas" / "json" / "delivery-rejection-1.json": _schema(DeliveryRejection),
        ROOT / "schemas" / "json" / "audit-report-2.json": _schema(AuditReport),
        rejections: _with_table(rejections.read_text(encoding="utf-8"), Reason),
        ehr: _with_table(ehr.read_text(encoding="utf-8"), DeliveryReason),
    }


def _schema(model: type[Finding] | type[Rejection] | type[DeliveryRejection] | type[AuditReport]) -> str:
    schema = {"$schema": _DIALECT, **model.model_json_schema(by_alias=True, mode="serialization")}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _with_table(page: str, reasons: Iterable[Reason] | Iterable[DeliveryReason]) -> str:
    """The page with everything from its table's head to the next empty line replaced."""
    before, _, after = page.partition(_TABLE_HEAD)
    rows = "".join(f"| `{reason.value}` | {reason.meaning} |\n" for reason in reasons)
    return before + _TABLE_HEAD + rows + after[after.find("\n\n") + 1 :]


if __name__ == "__main__":
    for path, text in published().items():
        path.write_text(text, encoding="utf-8")
