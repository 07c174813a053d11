"""The `ecg-worker` command.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong use.
"""

import typer

from cli import failure, options
from cli.commands import (
    check,
    deliver,
    deliveries,
    demo,
    export_vision,
    files,
    log,
    rejections,
    replay,
    run,
    settings,
    simulate,
    topics,
)

app = typer.Typer(
    name="ecg-worker",
    help="Reads 12-lead ECGs from a log, asks ECG-R1 whether a T-wave inversion is ischemic, and publishes findings.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain words: nothing in a help text becomes an emoji, and an example can be copied
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


@app.callback()
def _common(version: options.Version = False) -> None:
    """What every command shares."""


app.command()(demo.demo)
app.command()(failure.service(run.run))
app.command()(files.explain)
app.command()(files.measure)
app.command()(files.render)
app.command()(topics.submit)
app.command()(topics.read)
app.command()(failure.service(deliver.deliver))
app.add_typer(deliveries.app, name="deliveries")
app.command()(replay.replay)
app.add_typer(rejections.app, name="rejections")
app.add_typer(log.app, name="log")
app.command()(check.check)
app.command()(settings.settings)
app.command()(export_vision.export_vision)
app.command()(simulate.simulate)


def main() -> None:
    """Run a command; if it fails, the last line on stderr says why."""
    failure.run_command("ecg-worker", app)


if __name__ == "__main__":
    main()
