"""The commands by name, and what every command line has in common: one line for an error, and its exit code.

Exit codes: 0 done, 2 bad input, 3 refused by a limit, 4 disk, memory or device, 5 a fault of ours, 130 interrupted.
"""

import importlib.metadata
import sys
from difflib import get_close_matches
from typing import Any

import typer

from longvie.cli import bench, control, evaluate, generate, models, runs, train, world
from longvie.cli.terminal import said, table
from longvie.errors import ConfigError, Interrupted, LongVieError, ResourceError

app = typer.Typer(
    name="longvie",
    help="Direct a video for as long as you like.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(generate.generate)
app.command()(train.train)
for group in (world, models, control, runs, bench):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])
app.add_typer(evaluate.app, name="eval")

UsageError: Any = typer.BadParameter.__mro__[1]  # of click, or of typer's own copy of it
TRACEBACK = "--traceback"


@app.command()
def doctor() -> None:
    """Facts about this machine that explain a speed or a failure."""
    from longvie import runtime
    from longvie.catalogue import NAMES, state_of

    facts = runtime.doctor() | {f"model {row[0]}": row[-1] for row in map(state_of, NAMES)}
    table(("", ""), [(name, str(value)) for name, value in facts.items()])


@app.command()
def version() -> None:
    """The version."""
    print(importlib.metadata.version("longvie"))


def main() -> None:
    """The entry point of the command `longvie`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """One command line; its exit code. Every error is one line, never a traceback unless `--traceback` asks for it."""
    trace = TRACEBACK in arguments
    arguments = [argument for argument in arguments if argument != TRACEBACK]
    try:
        answer = typer.main.get_command(app).main(args=arguments, prog_name="longvie", standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except typer.Exit as end:
        return int(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return said(Interrupted("interrupted"))
    except LongVieError as error:
        return said(error, trace=trace)
    except UsageError as error:
        return said(ConfigError(_usage(error)), trace=trace)
    except MemoryError:
        return said(ResourceError("out of memory; make the video smaller, or close something"), trace=trace)
    except OSError as error:
        return said(ResourceError(f"the system refused: {error.strerror or error}"), trace=trace)
    except Exception as error:  # a fault of ours: still one line
        fault = f"a fault of ours, not of yours ({type(error).__name__}: {error}); --traceback shows where"
        return said(LongVieError(fault), trace=trace)


def _usage(error: Any) -> str:
    """What is wrong with a command line, with the nearest option that there is."""
    wanted, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if wanted and context is not None:
        known = [name for option in context.command.params for name in option.opts if name.startswith("--")]
        near = get_close_matches(wanted, known, n=1, cutoff=0.5)
        help_at = f"{context.command_path} --help"
        return f"no option '{wanted}'; " + (f"did you mean '{near[0]}'?" if near else f"see {help_at}")
    return error.format_message().rstrip(".")
