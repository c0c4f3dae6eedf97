"""How commands end: exit codes, and every expected error as one line on stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import typer

from bestex.client.errors import ApiError, ConnectionFailed
from bestex.errors import BestexError, ConfigError


class ExitCode(IntEnum):
    """What a script can rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    CONFIG = 5
    FAULT = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES = (
    "Exit codes: 0 ok, 1 order failed, canceled or expired, 2 usage, 3 server refused, 4 server unreachable, "
    "5 settings wrong or the server cannot start."
)

_TRACEBACK = "BESTEX_TRACEBACK"
_MONEY = {"no": "no money moved", "possible": "money may have moved", "yes": "money moved"}


def fail(message: str, code: ExitCode) -> typer.Exit:
    """One line on stderr; raise what this returns."""
    line = " ".join(message.split())
    sys.stderr.write(f"bestex: {line}\n")
    return typer.Exit(code)


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors that are not bugs of ours into one line and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except ApiError as error:
        money = _MONEY.get(error.money_moved, error.money_moved)
        again = ", may work later" if error.retryable else ""
        raise fail(f"{error.detail} ({error.code}, {money}{again})", ExitCode.REFUSED) from error
    except ConnectionFailed as error:
        raise fail(str(error), ExitCode.UNREACHABLE) from error
    except ConfigError as error:
        raise fail(error.message, ExitCode.CONFIG) from error
    except BestexError as error:
        raise fail(f"{error.message} ({error.code})", ExitCode.CONFIG) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(ExitCode.INTERRUPTED) from error
    except BrokenPipeError as error:
        # Whoever read our output has gone. The interpreter must not trip over that again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(ExitCode.BROKEN_PIPE) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise fail(f"{where}{error.strerror or error}", ExitCode.CONFIG) from error
    except Exception as error:
        # What carries an exit code is Typer's own way to end or to complain.
        if hasattr(error, "exit_code") or isinstance(error, typer.Abort) or _TRACEBACK in os.environ:
            raise
        fault = f"a fault of bestex itself: {type(error).__name__}: {error} ({_TRACEBACK}=1 shows where)"
        raise fail(fault, ExitCode.FAULT) from error
