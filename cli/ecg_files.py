"""Which ECG files are meant by the paths that a person typed, and what is in them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import typer

from adapters.inbound import looks_like_ecg_file
from cli import output

# So many names say what kind of files was left out; more would bury the results.
_NAMES_SHOWN: Final = 3


def chosen(paths: Sequence[Path]) -> list[Path]:
    """The files that were named, and of each folder its ECG files, also in folders within, in the order of names.

    In a folder an ECG is known by how it begins, not by its name; a file that was named itself is not doubted. Says
    what was left out. Raises typer.Exit(1) if a folder holds no ECG.
    """
    files: list[Path] = []
    left_out: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(file for file in path.rglob("*") if file.is_file())
        ecgs = [file for file in found if _may_be_an_ecg(file)]
        if not ecgs:
            output.notify(f"{typed(path)}: no ECG file in this folder ({_counted(len(found))} in all)")
            raise typer.Exit(1)
        files += ecgs
        left_out += sorted(set(found) - set(ecgs))
    if left_out:
        names = ", ".join(typed(file) for file in left_out[:_NAMES_SHOWN])
        more = ", ..." if len(left_out) > _NAMES_SHOWN else ""
        output.notify(f"left out {_counted(len(left_out))} that begin like no ECG: {names}{more}")
    return files


class Reading:
    """Reads files one after the other. One that cannot be read is named on stderr, and the others go on."""

    def __init__(self) -> None:
        self.failed = False

    def payloads(self, files: Iterable[Path]) -> Iterator[tuple[Path, bytes]]:
        """Each file that can be read, in order, with its content."""
        for file in files:
            try:
                payload = file.read_bytes()
            except OSError as error:
                output.notify(f"{typed(file)}: cannot be read: {error.strerror or type(error).__name__}")
                self.failed = True
            else:
                yield file, payload


def typed(path: Path) -> str:
    """The path as it was typed, as text that can be written whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _may_be_an_ecg(file: Path) -> bool:
    try:
        return looks_like_ecg_file(file)
    except OSError:
        return True  # nobody knows; the command that reads it says why it cannot


def _counted(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
