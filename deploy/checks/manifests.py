"""`make manifests`: render every overlay into build/manifests/ and check it in three ways.

What this machine lacks is left out and said; with CI=true that is a failure.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Final

from deploy.checks import admission, validate
from deploy.checks.apiserver import running_cluster
from deploy.checks.render import OVERLAYS, documents, render
from deploy.checks.report import report
from deploy.checks.toolbox import ROOT

RENDERED: Final = ROOT / "build" / "manifests"


def main() -> int:
    """Do every check, also after one has failed; 0 if all were good."""
    results = [report(what, check) for what, check in _checks()]
    return int(not all(results))


def _checks() -> Iterator[tuple[str, Callable[[], str]]]:
    for overlay in OVERLAYS:
        yield f"{overlay}, rendered", partial(_on_file, lambda path: str(path.relative_to(ROOT)), overlay)
        for check in (validate.schema, validate.habits):
            yield f"{overlay}, {check.__name__}", partial(_on_file, check, overlay)
    yield "API server", _admission


@cache
def _rendered(overlay: str) -> Path:
    RENDERED.mkdir(parents=True, exist_ok=True)
    path = RENDERED / f"{overlay}.yaml"
    path.write_text(render(overlay), encoding="utf-8")
    return path


def _on_file(check: Callable[[Path], str], overlay: str) -> str:
    return check(_rendered(overlay))


def _admission() -> str:
    manifests = {overlay: documents(_rendered(overlay).read_text(encoding="utf-8")) for overlay in OVERLAYS}
    with running_cluster() as cluster:
        return "; ".join(f"{overlay}: {admission.check(cluster, found)}" for overlay, found in manifests.items())


if __name__ == "__main__":
    sys.exit(main())
