"""Logging: one JSON object a line on stderr, through an allow-list.

A deny-list leaks whatever nobody thought of. Here only known fields leave the process: an unknown field is dropped, an
exception is named by its type and its frames, and by its text only if that was written for people (`WorkerError`). A
library's message is quoted by its template, without arguments.
"""

import atexit
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import structlog

from schemas.errors import WorkerError

# Every field that may be logged. None of them can hold anything of a patient's; `message` is a WorkerError's, or gone.
ALLOWED_FIELDS: Final = frozenset({
    "assigned", "attempt", "bytes", "check", "commit_ms", "count", "deadline_s", "digest", "elapsed_s", "error_type",
    "event", "findings", "frames", "group", "in_flight", "level", "library", "log", "member", "message", "model",
    "nearest", "offset", "partition", "port", "provider", "reason", "rejections", "revoked", "signal", "stage",
    "timestamp", "topic", "training", "variable", "version",
})  # fmt: skip


def configure(level: str = "INFO", chatty: Mapping[str, str] = MappingProxyType({})) -> None:
    """Send everything, also what libraries log, through the allow-list to stderr.

    Of the `chatty` libraries, by the names of their loggers, only what is at least so severe.
    """
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            _name_exception,
            allow_listed,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_template_only, *shared, allow_listed],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library, least in chatty.items():
        logging.getLogger(library).setLevel(least)


def silence_teardown() -> None:
    """Let nothing be written to stderr once this process has ended its work and only takes itself apart.

    triton, which torch and transformers import if it is installed, has C++ bindings (nanobind) that list at that
    moment, in about 30 lines, what they did not free. The list cannot be turned off, is about nothing of ours, and is
    no JSON. What the program has to say it has said by then. Call this early: what is registered first runs last.
    """
    atexit.register(_to_nowhere, 2)


def _to_nowhere(descriptor: int) -> None:
    with suppress(ValueError):  # closed already
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def get_logger() -> Any:  # structlog's bound loggers are typed by what they wrap, which is only known at run time
    """A logger. Events are fixed sentences; what varies goes into fields of `ALLOWED_FIELDS`."""
    return structlog.get_logger()


def allow_listed(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every field that is not on the list; a structlog processor."""
    return {
        name: value for name, value in event.items() if name in ALLOWED_FIELDS or name in ("_record", "_from_structlog")
    }


def _name_exception(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace an exception by its type, the places it passed and, if it is one for people, its text."""
    event.pop("message", None)
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error_type"] = type(error).__name__
        if isinstance(error, WorkerError):
            event["message"] = str(error)
        event["frames"] = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return event


def _template_only(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A library's record by its unformatted message: its arguments could be anything."""
    record: logging.LogRecord = event["_record"]
    event["event"] = str(record.msg)
    event["library"] = record.name
    if record.exc_info and record.exc_info[1]:
        event["error_type"] = type(record.exc_info[1]).__name__
    record.exc_info = None
    return event
