"""The `ecg-worker` command.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong use.
"""

import os
import sys

import typer

from adapters.log import LogError
from cli import options, output
from cli.commands import check, deliver, demo, export_vision, files, rejections, replay, run, simulate, topics
from cli.settings import SettingsError
from worker.model.errors import BundleError, EngineError
from worker.operations import logs

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
app.command()(run.run)
app.command()(files.explain)
app.command()(files.measure)
app.command()(files.render)
app.command()(topics.submit)
app.command()(topics.read)
app.command()(deliver.deliver)
app.command()(replay.replay)
app.add_typer(rejections.app, name="rejections")
app.command()(check.check)
app.command()(export_vision.export_vision)
app.command()(simulate.simulate)


def main() -> None:
    """Run a command; expected failures end with one plain line on stderr instead of a traceback."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logs.silence_teardown()
    logs.configure("WARNING")  # `run` and `deliver`, whose users read logs, say more
    try:
        app()
    except SettingsError as error:
        _fail(str(error), 2)
    except (BundleError, EngineError, LogError) as error:
        _fail(str(error), 1)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        sys.stderr.close()
        sys.exit(0)


def _fail(message: str, code: int) -> None:
    output.notify(f"ecg-worker: {message}")
    sys.exit(code)


if __name__ == "__main__":
    main()
