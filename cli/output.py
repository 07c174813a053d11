"""How commands talk: results as JSON lines on stdout, words and progress on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track as _track

from schemas.finding import Finding
from schemas.rejection import Rejection

Item = TypeVar("Item")

# Without a terminal there is no width to keep to; 140 columns hold the widest table here.
_WIDTH = None if sys.stdout.isatty() else 140
stdout = Console(highlight=False, width=_WIDTH)
stderr = Console(stderr=True, highlight=False)


def emit(result: Finding | Rejection) -> Finding | Rejection:
    """Print a result as one JSON line, at once; return it."""
    sys.stdout.write(result.to_json().decode() + "\n")
    sys.stdout.flush()
    return result


def emit_json(value: dict[str, Any]) -> None:
    """Print an object as one JSON line, at once."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def notify(message: str) -> None:
    """Say something to the person at the terminal."""
    stderr.print(message, markup=False, soft_wrap=True)


def track(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """The items, with a progress bar on stderr if somebody watches and there is something to watch."""
    if not stderr.is_terminal or len(items) < 3:
        return items
    return _track(items, description=doing, console=stderr, transient=True)
