"""What may end a command with a sentence for a person. Every other exception is a defect of ours.

    WorkerError
      LogError               the log: LogUnavailable, PublishFailed, Fenced
      ReceiverError          where findings are delivered to
      ReceiverAway           the receiver, while findings are sent again
      SettingsError          flags, environment, file
      BundleError            a model directory
      EngineError            running it
      PreparationFailed      the processes that prepare records
      Stalled                the watch on progress
      DataError, RunError, CalibrationError     training

`Rejected`, `Unanswered`, `Refused`, `Unsendable` and `FramingError` are not among them: they end a record, not a
process.
"""

from typing import ClassVar


class WorkerError(Exception):
    """Its text says what is wrong and what to do, and holds nothing of a payload: it is shown and logged as it is."""

    exit_code: ClassVar[int] = 1
