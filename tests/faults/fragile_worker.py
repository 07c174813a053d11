"""`ecg-worker` that breaks where a record wants it: see `tests.faults.fragile`.

Run as `python -m tests.faults.fragile_worker run`.
"""

from cli.app import main
from cli.wiring import stages
from tests.faults.fragile import SicklyEngine, decode_or_die
from worker.engine import echo

if __name__ == "__main__":
    stages.decode = decode_or_die  # type: ignore[attr-defined]
    echo.EchoEngine = SicklyEngine  # type: ignore[misc]
    main()
