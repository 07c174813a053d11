"""What Linux tells of a process: its threads, its memory, its open files, its children."""

from pathlib import Path

PROC = Path("/proc")


def children(pid: int) -> list[int]:
    """The processes that this one started and that still run."""
    return [int(child) for task in _tasks(pid) for child in _text(task / "children").split()]


def threads(pid: int) -> int:
    """How many threads the process has; 0 if it is gone."""
    return _status(pid, "Threads")


def rss_mb(pid: int) -> float:
    """Memory that the process holds, in MB; 0 if it is gone."""
    return _status(pid, "VmRSS") / 1024


def open_files(pid: int) -> int:
    """How many file descriptors the process has; 0 if it is gone."""
    try:
        return len(list((PROC / str(pid) / "fd").iterdir()))
    except OSError:
        return 0


def _tasks(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def _status(pid: int, field: str) -> int:
    for line in _text(PROC / str(pid) / "status").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
