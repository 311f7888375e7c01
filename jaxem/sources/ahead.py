"""Reading in a thread of its own, while the caller works on what was read before."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any

_WAIT = 0.05  # seconds, after which a thread that is full looks whether anybody still reads
_PATIENCE = 10.0  # seconds that the end of a thread is waited for


def ahead(source: Callable[[], Iterable[Any]]) -> Generator[Any]:
    """What `source()` gives, of which the next is read while this one is worked on, and one more waits in between.

    An error of the source is raised where its item would have come. The thread ends with the source, or when the
    iterator is closed: use `contextlib.closing`.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(1)
    stopped = threading.Event()

    def hand_over(kind: str, item: Any) -> None:
        while not stopped.is_set():
            try:
                return ready.put((kind, item), timeout=_WAIT)
            except queue.Full:
                continue

    def read() -> None:
        try:
            items = iter(source())
            try:
                for item in items:
                    hand_over("item", item)
                    del item  # it is the reader's by now
                    if stopped.is_set():
                        return
            finally:
                # Here, where its files were opened.
                getattr(items, "close", lambda: None)()
            hand_over("end", None)
        except BaseException as error:
            hand_over("error", error)

    thread = threading.Thread(target=read, name="jaxem-reader", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
            del item
    finally:
        stopped.set()
        thread.join(_PATIENCE)
