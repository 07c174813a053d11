"""How a command ends that fails: the one place where an exception becomes words and an exit code.

The last line on stderr says what is wrong and what to do. Kubernetes shows the same sentence, from the file that
`ECG_TERMINATION_LOG` names. Services, whose users read logs, log it too. An exception that was not written for people
is a defect: it is named by its type and its frames, for its text could hold anything.
"""

import errno
import functools
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import typer

from cli import output
from cli.settings import SettingsError
from schemas.errors import WorkerError
from worker.operations import logs, watchdog

P = ParamSpec("P")
T = TypeVar("T")

TERMINATION_LOG: Final = "ECG_TERMINATION_LOG"  # no setting: failures of the settings are written there too
_KUBERNETES_LOG: Final = Path("/dev/termination-log")
_MOST_BYTES: Final = 4096  # what Kubernetes reads of it

_DEFECT_CODE: Final = 1
_INTERRUPTED_CODE: Final = 128 + 2  # as a shell says it of SIGINT

# Libraries that warn about what is in their users' data, or about themselves, and from which severity on they may
# speak. Kafka's reports each attempt to connect as an error; `adapters.kafka` says once that a broker is away, and why.
CHATTY: Final = {
    "kafka": "CRITICAL",
    "transformers": "ERROR",
    "torch": "ERROR",
    "pydicom": "ERROR",
    "hl7apy": "ERROR",
}


# What typer raises for a command line that it cannot take. It has no public name: typer ships click under its own roof.
_WrongUse: Final = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")


# What a file says that cannot be read or written, wherever that is met: no defect of ours.
_OF_FILES: Final = frozenset(
    {errno.EACCES, errno.EDQUOT, errno.EIO, errno.EISDIR, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM,
     errno.EROFS}
)  # fmt: skip


def run_command(program: str, app: Callable[..., object]) -> NoReturn:
    """Run the command line, a typer app; leave with its exit code."""
    # No library of ours speaks to the network on its own: ECGs are read in hospitals.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    logs.silence_teardown()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # what JSON is in
    logs.configure("WARNING", CHATTY)  # services say more
    try:
        code = app(prog_name=program, standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except (BrokenPipeError, output.ReaderLeft):  # as `head` does
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED_CODE)
    except WorkerError as error:
        _end(program, str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends the process, and says so
        if isinstance(error, _WrongUse):
            _end_wrong_use(program, error)
        if isinstance(error, OSError) and error.errno in _OF_FILES:
            where = error.filename or "standard output, or a file"
            sentence = f"{where}: {error.strerror}; is it there, is there room, and may this user use it?"
            _end(program, sentence, WorkerError.exit_code)
        logs.get_logger().error("ended by a defect", exc_info=error)
        _end(program, f"{type(error).__name__}: this is a defect; please report the log line above", _DEFECT_CODE)


def service(command: Callable[P, T]) -> Callable[P, T]:
    """A command whose users read its log: what ends it stands there too, unless it is a wrong use, before any of it."""

    @functools.wraps(command)
    def logged(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except WorkerError as error:
            if error.exit_code != SettingsError.exit_code:
                logs.get_logger().error("ended by an error", exc_info=error)
            raise

    return logged


def end_stalled(reason: str) -> NoReturn:
    """End a process whose threads no longer move, from the watchdog's thread."""
    sentence = f"{reason}; start the worker again, it goes on from what is committed"
    watchdog.report(reason)
    leave_for_kubernetes(sentence)
    os.write(2, f"ecg-worker: {sentence}\n".encode())  # not through what another thread may hold
    os._exit(WorkerError.exit_code)


def _end_wrong_use(program: str, error: Any) -> NoReturn:
    command = error.ctx.command_path if error.ctx is not None else program
    if type(error).__name__ == "NoArgsIsHelpError":  # nothing was asked for: the help is the answer
        error.show()
        sys.exit(error.exit_code)
    _end(program, f"{error.format_message().rstrip('.')}; `{command} --help` says what it takes", error.exit_code)


def _end(program: str, sentence: str, code: int) -> NoReturn:
    leave_for_kubernetes(sentence)
    for line in sentence.splitlines():
        output.notify(f"{program}: {_one_line(line)}")
    sys.exit(code)


def _one_line(sentence: str) -> str:
    return output.printable(output.without_passwords(" ".join(sentence.split())))


def leave_for_kubernetes(sentence: str) -> None:
    """Write the sentence where `kubectl describe pod` finds it. Whoever cannot be told this way reads stderr."""
    stated = os.environ.get(TERMINATION_LOG)
    file = Path(stated) if stated else _KUBERNETES_LOG
    if not stated and not (file.exists() and os.access(file, os.W_OK)):
        return
    no_half_letter = _one_line(sentence).encode()[:_MOST_BYTES].decode(errors="ignore")
    with suppress(OSError):
        file.write_bytes(no_half_letter.encode())
