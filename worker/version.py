"""The worker's version, from the installed package: said once, in `pyproject.toml`."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("ecg-r1-worker")
