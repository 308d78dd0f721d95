"""Ctrl-C and a polite kill, as one exception that unwinds everything."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what `kill` sends."""

received: list[int] = []
"""Signals that arrived; the last one makes the exit code."""


@contextlib.contextmanager
def raising_on_signals(signals: Sequence[int] = SIGNALS) -> Iterator[None]:
    """Let these signals raise `KeyboardInterrupt`, so that every scratch file is removed.

    A signal that arrives inside a callback from compiled code is dropped there; it stays in
    `received`, and the next stage stops for it.
    """

    def interrupt(signum: int, frame: FrameType | None) -> None:
        del frame
        received.append(signum)
        raise KeyboardInterrupt

    def unraisable(dropped: "sys.UnraisableHookArgs") -> None:
        if not (received and dropped.exc_type is KeyboardInterrupt):
            report(dropped)

    received.clear()
    report, sys.unraisablehook = sys.unraisablehook, unraisable
    before = {s: signal.signal(s, interrupt) for s in signals}
    try:
        yield
    finally:
        sys.unraisablehook = report
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back during the few moments in which half a change would stay; then raise them.

    Python interrupts the main thread alone, so elsewhere there is nothing to hold back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {s: signal.signal(s, lambda signum, _: held.append(signum)) for s in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            # None stands for a handler that was not installed from Python.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        for signum in held:
            signal.raise_signal(signum)


def stop_if_interrupted() -> None:
    """Raise `KeyboardInterrupt` if a signal arrived, even one whose exception was dropped."""
    if received:
        raise KeyboardInterrupt
