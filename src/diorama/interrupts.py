"""Ctrl-C and a polite kill, as one exception that unwinds everything."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `kill` sends."""

received: list[int] = []
"""Signals that arrived; the last one makes the exit code."""


@contextlib.contextmanager
def raising_on_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `KeyboardInterrupt`, so that every scratch file is removed.

    A signal that arrives inside a callback from compiled code is reported and dropped there; it
    stays in `received`, and the next stage stops for it.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        del frame
        received.append(signum)
        raise KeyboardInterrupt

    received.clear()
    before = {s: signal.signal(s, interrupt) for s in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def stop_if_interrupted() -> None:
    """Raise `KeyboardInterrupt` if a signal arrived, even one whose exception was dropped."""
    if received:
        raise KeyboardInterrupt
