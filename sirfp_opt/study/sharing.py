"""SharedWork: the runs of a study, of which others may make some at the same time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.study.runner import INTERRUPTED, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sirfp_opt.study.record import RunRecord
    from sirfp_opt.study.runner import Task
    from sirfp_opt.study.store import ResultStore

__all__ = ["SharedWork"]

# Seconds between two looks at what others have finished.
_PATIENCE = 0.2


class SharedWork:
    """The runs that are wanted, those that are done, and those that are left.

    Parameters
    ----------
    tasks : sequence of Task
    store : ResultStore, optional
        Its runs count; what is run here is added to it.
    retry_failed : bool
        Whether failed runs that are in the store by now are left to do.

    Attributes
    ----------
    done : dict of str to RunRecord
        By key.
    left : dict of str to Task
        By key.
    """

    def __init__(
        self, tasks: Sequence[Task], store: ResultStore | None, *, retry_failed: bool
    ) -> None:
        self.store = store
        wanted = {task.key for task in tasks}
        self.done: dict[str, RunRecord] = {}
        for record in store or ():
            if record.key not in wanted:
                continue
            if retry_failed and record.failed:
                self.done.pop(record.key, None)
            else:
                self.done[record.key] = record
        self.left = {t.key: t for t in tasks if t.key not in self.done}
        self._held: set[str] = set()
        self._news: list[RunRecord] = []
        self._fault: InvalidProblemError | None = None
        # joblib asks for the next task in a thread of its own.
        self._lock = threading.Lock()

    def run(self, workers: int, warm_up: bool) -> Iterator[RunRecord]:
        """Yield each run as it is finished, here or by another study."""
        while self.left:
            tasks = list(self.left.values())
            first = next((task for task in tasks if self._claim(task)), None)
            if first is None:
                yield from self._told()
                if self.left:  # under way elsewhere
                    time.sleep(_PATIENCE)
                continue
            rest = [task for task in tasks if task is not first]
            records = run_all(
                [first, *rest], n_jobs=workers, warm_up=warm_up, claim=self._claim
            )
            for record in records:
                self._finish(record)
                yield record
                yield from self._told()

    def _claim(self, task: Task) -> bool:
        """Take a run, unless it is done by now or somebody else is at it."""
        store = self.store
        if store is None or task.key in self._held:
            return True
        if self._is_done(task) or not store.claims.take(task.key):
            return False
        # It may have been finished and given back between the two looks.
        if self._is_done(task):
            store.claims.release(task.key)
            return False
        self._held.add(task.key)
        return True

    def _is_done(self, task: Task) -> bool:
        """Tell whether a run is stored by now, or reading has met a broken row."""
        assert self.store is not None
        with self._lock:
            try:
                for record in self.store.new():
                    if record.key in self.left and record.key not in self.done:
                        self.done[record.key] = record
                        self._news.append(record)
            except InvalidProblemError as error:
                self._fault = error
            return task.key in self.done or self._fault is not None

    def _told(self) -> Iterator[RunRecord]:
        """Yield what others have finished; raise what they have left broken."""
        if self._fault is not None:
            raise self._fault
        with self._lock:
            news, self._news = self._news, []
        for record in news:
            del self.left[record.key]
            yield record

    def _finish(self, record: RunRecord) -> None:
        """Store a run that was made here; one that was cut short is made again."""
        with self._lock:
            if self.store is not None and record.error != INTERRUPTED:
                self.store.add(record)
            self.done[record.key] = record
            del self.left[record.key]
        if self.store is not None:
            self._held.discard(record.key)
            self.store.claims.release(record.key)
