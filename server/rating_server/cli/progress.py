"""Progress bars on long work, on standard error and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


def _ignore(_: int) -> None:
    """Stand in for a bar where nobody watches."""


@contextmanager
def progress(title: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Yield a function that advances the bar by a number of ``unit``s; ``total`` may be unknown.

    The function may be called from any thread.
    """
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        """Units done, and units a second."""

        def render(self, task: Task) -> Text:
            speed = f", {task.speed:,.0f} a second" if task.speed else ""
            return Text(f"{task.completed:,.0f} {unit}{speed}")

    columns = (TextColumn("{task.description}"), BarColumn(), Speed(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance
