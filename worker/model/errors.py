"""What can be wrong with a model directory, and with the machine that is to run it."""

from schemas.errors import WorkerError


class BundleError(WorkerError):
    """A model directory cannot be used as it is. The message says what to do about it."""


class EngineError(WorkerError):
    """The engine cannot run as configured, or broke while running. It never goes on with something else instead."""
