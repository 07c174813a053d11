"""The `ecg-train` command: makes and judges models that `ecg-worker` serves.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong use.
"""

import typer

from cli import failure, options
from cli.training import judge, learn

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
    """Run a command; if it fails, the last line on stderr says why."""
    failure.run_command("ecg-train", app)


if __name__ == "__main__":
    main()
