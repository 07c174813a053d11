"""How checks tell what they found: done, failed, or left out for lack of something, which in CI is a failure too."""

import os
from collections.abc import Callable

from deploy.checks.toolbox import CheckFailed, Unavailable


def report(what: str, check: Callable[[], str]) -> bool:
    """Do a check and print how it ended; whether that is good enough."""
    try:
        print(f"ok        {what}: {check()}", flush=True)
    except Unavailable as lack:
        print(f"left out  {what}: {lack}", flush=True)
        return os.environ.get("CI") != "true"
    except CheckFailed as failure:
        print(f"FAILED    {what}: {failure}", flush=True)
        return False
    return True
