"""What can be said of manifests and of the Dockerfile without a cluster: their schema, and known bad habits."""

import json
from pathlib import Path
from typing import Any

from deploy.checks.toolbox import KUBERNETES, CheckFailed, python_tool, run


def schema(rendered: Path) -> str:
    """Check every object against Kubernetes' own schema, in which a field that it does not know is an error.

    Raises CheckFailed or Unavailable.
    """
    release = KUBERNETES.rpartition(".")[0]
    run([str(python_tool("tools", "kubernetes-validate")), "--strict", "-k", release, str(rendered)])
    return f"kubernetes-validate --strict: every object fits Kubernetes {release}"


def habits(rendered: Path) -> str:
    """Check with checkov. Every skip is annotated in the manifest with its reason.

    Raises CheckFailed or Unavailable.
    """
    options = [
        "--framework",
        "kubernetes",
        "--skip-download",
        "--quiet",
        "--compact",
        "--output",
        "json",
        "--soft-fail",
    ]
    reported = json.loads(run([str(python_tool("checkov", "checkov")), *options, "--file", str(rendered)]))
    summary = reported.get("summary") if isinstance(reported, dict) else None
    if summary is None or not summary["passed"] or summary["parsing_errors"]:
        raise CheckFailed("checkov found nothing that it could check")
    if summary["failed"]:
        raise CheckFailed("\n".join(map(_finding, reported["results"]["failed_checks"])))
    return f"checkov: {summary['passed']} passed, 0 failed, {summary['skipped']} skipped with a reason"


def dockerfile(path: Path) -> str:
    """Check a Dockerfile with hadolint. Raises CheckFailed or Unavailable."""
    run([str(python_tool("tools", "hadolint")), "--no-color", str(path)])
    return "hadolint: clean"


def _finding(check: dict[str, Any]) -> str:
    return f"{check['check_id']} {check['check_name']}: {check['resource']}"
