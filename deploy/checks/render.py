"""From an overlay to the objects that would be sent to a cluster."""

import json
import shutil
from typing import Any, Final

import yaml

from deploy.checks.toolbox import ROOT, CheckFailed, kubernetes_program, run

OVERLAYS: Final = ("dev", "prod")

# An object as Kubernetes takes it. Its shape depends on its kind, and it is the API server that judges it.
Document = dict[str, Any]


def render(overlay: str) -> str:
    """The YAML of an overlay. Raises Unavailable or CheckFailed."""
    return run([_kubectl(), "kustomize", str(ROOT / "deploy" / "overlays" / overlay)])


def documents(text: str) -> list[Document]:
    """The objects in a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document is not None]


def only(found: list[Document], kind: str) -> Document:
    """The one object of a kind."""
    (document,) = (document for document in found if document["kind"] == kind)
    return document


def _kubectl() -> str:
    """A kubectl with kustomize 5 or later, which knows `labels` with templates; built if this machine has none."""
    present = shutil.which("kubectl")
    if present is not None:
        try:
            version = json.loads(run([present, "version", "--client", "-o", "json"]))
        except CheckFailed:  # too old for these options
            version = {}
        if int(str(version.get("kustomizeVersion", "v0")).removeprefix("v").split(".")[0]) >= 5:
            return present
    return str(kubernetes_program("kubectl"))
