"""The `ecg-train` command: makes and judges models that `ecg-worker` serves.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong use.
"""

import os
import sys

import typer

from cli import options, output
from cli.training import judge, learn
from worker.model.errors import BundleError, EngineError
from worker.operations import logs

app = typer.Typer(
    name="ecg-train",
    help="Trains ECG-R1 on ECG pictures (SFT, GRPO), evaluates it with intervals, calibrates it.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain words: nothing in a help text becomes an emoji, and an example can be copied
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback()
def _common(version: options.Version = False) -> None:
    """What every command shares."""


app.command()(learn.pretrain)
app.command()(learn.sft)
app.command()(learn.grpo)
app.command()(judge.evaluate)
app.command()(judge.calibrate)


def main() -> None:
    """Run a command; expected failures end with one plain line on stderr instead of a traceback."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logs.silence_teardown()
    logs.configure("WARNING")
    try:
        app()
    except Exception as error:
        from training.data.recorded import DataError
        from training.methods.run_directory import RunError  # both load torch, for which --help must not wait

        if not isinstance(error, BundleError | EngineError | DataError | RunError):
            raise
        output.notify(f"ecg-train: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
