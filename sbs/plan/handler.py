"""The logger plugin: it follows Snakemake's log events and prints."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from logging import WARNING, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live
from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from sbs.config.scale import Scale
    from sbs.plan.estimates import Estimates, SettingsOf
    from sbs.plan.jobs import PlannedJob
    from sbs.plan.progress import Progress
    from sbs.plan.schedule import Places


@dataclass(frozen=True)
class _Subject:
    """What a workflow is about; see :func:`sbs.plan.introduce`."""

    workflow: Any
    scale: Scale
    settings_of: SettingsOf

    def estimates(self) -> Estimates:
        from sbs.plan.costs import speed_of
        from sbs.plan.estimates import Estimates

        speed = speed_of(self.scale.resources)
        return Estimates(Path(self.scale.results), self.settings_of, speed)

    def places(self) -> Places:
        from sbs.plan.schedule import Places

        return Places.of(self.workflow, self.scale.resources.threads)


class LogHandler(LogHandlerBase):
    """Prints what Snakemake says, the plan of a dry run, and the progress of a real one."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Set up Snakemake's own output, and decide what to show besides."""
        self._planned: list[PlannedJob] = []
        self._subject: _Subject | None = None
        self._progress: Progress | None = None
        self._bar: Live | None = None
        self._lock = threading.Lock()
        self._stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self._console = Console(file=self._stream, soft_wrap=True, highlight=False)
        self._text = self._snakemakes_output()

    @property
    def _quiet(self) -> set[Quietness]:
        return set(self.common_settings.quiet or ())

    @property
    def _only_plan(self) -> bool:
        return self.common_settings.dryrun and Quietness.RULES in self._quiet

    @property
    def _draws(self) -> bool:
        """Whether to draw a bar."""
        terminal = self._stream.isatty() and not self._console.is_dumb_terminal
        silent = self.common_settings.dryrun or self._quiet & {Quietness.PROGRESS, Quietness.ALL}
        return terminal and not silent

    def introduce(self, workflow: Any, scale: Scale, settings_of: SettingsOf) -> None:
        """See :func:`sbs.plan.introduce`."""
        self._subject = _Subject(workflow, scale, settings_of)

    def begin(self) -> None:
        """See :func:`sbs.plan.begin`."""
        try:
            self._begin()
        except Exception as error:
            self._give_up(error)

    def emit(self, record: LogRecord) -> None:
        """Print an event as Snakemake does; then plan, or update the progress."""
        with suppress(BrokenPipeError):
            if not self._only_plan or record.levelno >= WARNING or _nothing_to_do(record):
                self._text.handle(record)
            try:
                with self._lock:
                    self._follow(record)
                if self._bar is not None:
                    self._bar.refresh()
            except Exception as error:
                self._give_up(error)

    def close(self) -> None:
        """Remove the bar."""
        self._stop_bar()
        super().close()

    def _snakemakes_output(self) -> ColorizingTextHandler:
        """Handler as Snakemake would set up itself; it prints above the bar."""
        given = self.common_settings
        shown = given.debug_dag, given.verbose, given.dryrun, given.printshellcmds
        return ColorizingTextHandler(
            nocolor=given.nocolor,
            stream=FileProxy(self._console, self._stream) if self._draws else self._stream,
            formatter=_Formatter(self._quiet, given.show_failed_logs, lambda: self._progress),
            filter=DefaultFilter(self._quiet, *shown),
        )

    def _begin(self) -> None:
        from sbs.plan.jobs import from_workflow
        from sbs.plan.progress import Progress

        if self._subject is None:
            return
        jobs, places = from_workflow(self._subject.workflow), self._subject.places()
        self._progress = Progress(jobs, self._subject.estimates(), places)
        logger.info(self._progress.plan)
        if self._draws:
            self._bar = Live(
                get_renderable=self._drawn,
                console=self._console,
                refresh_per_second=1,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()

    def _follow(self, record: Any) -> None:
        event = getattr(record, "event", None)
        if self.common_settings.dryrun:
            self._follow_dry_run(event, record)
        elif self._progress is None:
            return
        elif event == LogEvent.JOB_INFO:
            self._progress.started(record.jobid)
        elif event == LogEvent.JOB_FINISHED:
            self._progress.finished(record.job_id)
        elif event == LogEvent.JOB_ERROR:
            self._progress.failed(record.jobid)

    def _follow_dry_run(self, event: LogEvent | None, record: Any) -> None:
        from sbs.plan.jobs import from_event

        if event == LogEvent.JOB_INFO:
            self._planned.append(from_event(record))
        elif event == LogEvent.RUN_INFO and self._planned and self._subject is not None:
            from sbs.plan.table import plan

            title = f"Plan at the scale {self._subject.scale.scale}"
            estimates, places = self._subject.estimates(), self._subject.places()
            self._console.print(plan(title, self._planned, estimates, places))

    def _drawn(self) -> RenderableType:
        try:
            with self._lock:
                return "" if self._progress is None else self._progress.drawn()
        except Exception:
            return ""

    def _give_up(self, error: Exception) -> None:
        """Go on without plan and progress."""
        self._progress = self._subject = None
        self._stop_bar()
        message = f"no plan and no progress of this run: {type(error).__name__}: {error}"
        self._text.handle(LogRecord(__name__, WARNING, __file__, 0, message, None, None))

    def _stop_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()


class _Formatter(DefaultFormatter):
    """Snakemake's formatter, with the progress in the lines that count finished jobs."""

    def __init__(
        self, quiet: Any, show_failed_logs: bool, progress: Callable[[], Progress | None]
    ) -> None:
        super().__init__(quiet, show_failed_logs)
        self._progress = progress

    def format_progress(self, message: dict[str, Any]) -> str:
        """For instance ``2 of 9 steps (22%) done: 9% of the work, about 3 min left``."""
        text, progress = str(super().format_progress(message)), self._progress()
        return f"{text}: {progress.rest}" if progress and progress.rest else text


def _nothing_to_do(record: LogRecord) -> bool:
    return str(record.msg).startswith(NOTHING_TO_BE_DONE_MSG)
