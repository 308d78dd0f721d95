"""The command line's entry: one call a command, and what its outcome means to the shell.

Exit codes: 0 done; 2 the user can fix it, said in one line; 130 and 143 interrupted, with nothing
half-written; 1 our fault, with a traceback. The commands themselves load only once a Ctrl-C would
be caught.
"""

import os
import signal
import sys
from collections.abc import Sequence

import diorama
from diorama.errors import DioramaError
from diorama.files import remove_scratch
from diorama.interrupts import SIGNALS, raising_on_signals, received
from diorama.report import EXIT_USER, say, tell

EXIT_SIGNAL = 128
"""Plus the signal's number, as shells have it."""


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code; without `args`, as the program."""
    if args is not None:
        return _outcome(args)
    code = _outcome(sys.argv[1:])
    # What there was to do is done: a late Ctrl-C must not turn it into something else.
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    remove_scratch()  # in case an interruption came amid the cleaning up
    if received and code >= EXIT_SIGNAL:
        # An exception that passed through exec() would have Python end by the signal after all,
        # and threads with work left would keep it waiting.
        sys.stdout.flush()
        os._exit(code)
    return code


def _outcome(args: Sequence[str]) -> int:
    if list(args) == ["--version"]:
        say(f"diorama {diorama.__version__}")
        return 0
    try:
        with raising_on_signals():
            return _run(args or ["--help"])
    except DioramaError as error:
        tell(f"error: {error}")
        return EXIT_USER
    except KeyboardInterrupt:
        tell("interrupted")
        return EXIT_SIGNAL + (received[-1] if received else signal.SIGINT)
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain once more while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SIGNAL + getattr(signal, "SIGPIPE", 13)


def _run(args: Sequence[str]) -> int:
    try:
        import tyro

        from diorama.commands import Command
    except (ImportError, AttributeError, OSError) as error:
        return _explain(error)
    command = tyro.cli(
        Command,  # pyright: ignore[reportArgumentType] (a union of annotated types)
        args=args,
        prog="diorama",
        description=(diorama.__doc__ or "").partition("\n")[0],
    )
    return command.run()


def _explain(error: Exception) -> int:
    """Say which package is missing or broken; raises the error again if none is."""
    from diorama.doctor import examine

    found = [finding for finding in examine() if finding.advice]
    if not found:
        raise error
    tell(f"error: cannot start: {error}")
    for finding in found:
        tell(f"{finding.name}: {finding.value} -> {finding.advice}")
    return EXIT_USER


if __name__ == "__main__":
    sys.exit(main())
