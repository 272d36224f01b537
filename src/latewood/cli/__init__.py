"""The command line. One thin file per command; what they do lives in the rooms below."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, cast

from latewood.errors import LatewoodError, MissingExtra, StorageError

__all__ = ["main"]

INTERRUPTED = 130
"""What shells expect of a process that Ctrl-C ended: 128 + SIGINT."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process.

    Exit codes: 0 done, 1 the answer is "no", 2 wrong usage or input, 3 could not.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
    except LatewoodError as error:
        _say(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        _say("interrupted; what was committed before is kept, the running batch is not")
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone (`| head`): not an error
        code = 0
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:  # a file by name is not the output
            raise
        code = _not_written(error)
    sys.exit(_flushed(code))


def _flushed(code: int) -> int:
    """The exit code, once all output is written. What can't be goes nowhere: Python would try again, and complain."""
    output = sys.__stdout__
    if output is None:  # closed before the process began
        return code
    try:
        output.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, output.fileno())
        os.close(nowhere)
        return code if code or isinstance(error, BrokenPipeError) else _not_written(error)
    return code


def _not_written(error: OSError) -> int:
    _say(f"the output can't be written: {error.strerror}")
    return StorageError.exit_code


def _run(argv: list[str]) -> int:
    try:
        import rich  # noqa: F401 - asked for here, so that what is missing is said in one line
        import typer
    except ImportError as error:
        raise MissingExtra("the latewood command", error.name or "typer", "cli") from None
    from latewood.cli.app import app

    # Newer typers carry a click of their own: its UsageError is found as what the public BadParameter derives from.
    usage_error = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
    try:
        result = typer.main.get_command(app).main(argv, prog_name="latewood", standalone_mode=False)
    except SystemExit:
        if (
            type(sys.stdout).__name__ != "PacifyFlushWrapper"
        ):  # what typer leaves where the reader of our output has gone
            raise
        raise BrokenPipeError from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    except usage_error as error:
        error.show()
        return 2
    if result == INTERRUPTED:  # newer typers answer Ctrl-C with this code instead of raising
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _say(message: str) -> None:
    sys.stderr.write(f"latewood: {message}\n")
