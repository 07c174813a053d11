"""How commands talk: results as JSON lines on stdout, words and progress on stderr."""

import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from rich.console import Console
from rich.progress import track as _track

from schemas.errors import WorkerError
from schemas.finding import Finding
from schemas.rejection import Rejection

Item = TypeVar("Item")

# Without a terminal there is no width to keep to; 140 columns hold the widest table here.
_WIDTH = None if sys.stdout is not None and sys.stdout.isatty() else 140
stdout = Console(highlight=False, width=_WIDTH)
stderr = Console(stderr=True, highlight=False)


_MAY_BE_A_PASSWORD: Final = (
    # `Path` makes one slash of two.
    (re.compile(r"(?<=\w:)(//?)(?!/).*@"), r"\1***@"),
    (re.compile(r"(?<=\w:)(//?[^\s?#]*)[?#]\S+"), r"\1?***"),
    (re.compile(r"[^\s:/'\"(]+:(?!/)\S*@"), "***@"),  # without a slash
)


class OutputError(WorkerError):
    """Standard output cannot be written."""


class ReaderLeft(Exception):
    """Nobody reads our output any more, as after `| head`."""


def emit(result: Finding | Rejection) -> Finding | Rejection:
    """Print a result as one JSON line, at once; return it. Raises as `emit_json`."""
    _write_line(result.to_json())
    return result


def emit_json(value: dict[str, Any]) -> None:
    """Print an object as one JSON line, at once. Raises OutputError or ReaderLeft."""
    _write_line(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _write_line(line: bytes) -> None:
    """JSON is UTF-8, whatever this terminal's encoding is."""
    if sys.stdout is None:
        raise OutputError("standard output is closed; open it, or send it to a file")
    try:
        sys.stdout.write(line.decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderLeft from None
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}; is there room for it?") from None


def notify(message: str) -> None:
    """Say something to the person at the terminal, who may be a log that many read.

    No file's name moves the cursor or sets a colour there, and no URL's password is repeated.
    """
    lines = [printable(without_passwords(line)) for line in message.split("\n")]
    stderr.print("\n".join(lines), markup=False, soft_wrap=True)


def without_passwords(line: str) -> str:
    """The line without what a URL in it may say before its @ or after its ?, whoever put that URL there, and where.

    A path after sqlite:/// is none. Too much is left out rather than too little: a password may hold any sign.
    """
    for pattern, instead in _MAY_BE_A_PASSWORD:
        line = pattern.sub(instead, line)
    return line


def printable(line: str) -> str:
    """The line with whatever is no letter, digit or mark escaped; surrogates, which no encoding takes, are among it."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def write_file(file: Path, content: bytes) -> None:
    """Write what the work was done for. Raises OutputError with the path and the cause."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {_cause(error)}; name another place, or make room") from None


def try_folder(folder: Path, option: str) -> None:
    """Make the folder if it is missing, and write into it: what cannot be kept is known before the work is done.

    Raises typer.BadParameter, which is wrong use, with the path and the cause.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise typer.BadParameter(f"cannot write to {folder}: {_cause(error)}", param_hint=option) from None


def try_file(file: Path, option: str) -> None:
    """Like `try_folder`, for one file; what it holds is left as it is."""
    try_folder(file.parent, option)
    try:
        if file.exists():
            file.open("ab").close()
    except OSError as error:
        raise typer.BadParameter(f"cannot write to {file}: {_cause(error)}", param_hint=option) from None


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__


def track(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """The items, with a progress bar on stderr if somebody watches and there is something to watch."""
    if not stderr.is_terminal or len(items) < 3:
        return items
    return _track(items, description=doing, console=stderr, transient=True)
