"""Work spread over processes, none of which outlives the others' trouble."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from d2v_jax.common.checks import UserError

Told = Callable[[int], None]  # how a worker says how much it has done since last time
WAIT_S = 1.0


def in_processes(
    work: Callable[[int, Told], Any], numbers: Sequence[int], workers: int
) -> Iterator[int | tuple[int, Any]]:
    """Does work(number, told) for all `numbers`, `workers` at a time, in new processes.

    Yields what the workers tell, an int each, (number, result) as each is finished, and 0 at
    least every second. `work` and its results must pickle. What it raises is raised here, and
    `UserError` where a process dies; then, as when the caller goes away, all are ended.
    """
    waiting = list(reversed(numbers))
    busy: dict[Connection, Any] = {}
    context = multiprocessing.get_context("spawn")  # forks of a process with threads may hang
    # Ctrl-C reaches the whole group; only this process should answer, and end the others.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        try:
            for _ in range(min(workers, len(numbers))):
                here, there = context.Pipe()
                process = context.Process(target=_worker, args=(work, there), daemon=True)
                process.start()
                there.close()  # the only other end, so that its death is seen here
                busy[here] = process
                here.send(waiting.pop())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        while busy:
            ready = wait(list(busy), WAIT_S)
            if not ready:
                yield 0
            for one in ready:
                try:
                    kind, said = one.recv()
                except (EOFError, ConnectionError) as error:
                    raise _died(busy[one]) from error
                if kind == "raised":
                    raise said
                yield said
                if kind == "done":
                    if waiting:
                        _send(one, busy[one], waiting.pop())
                    else:
                        _send(one, busy[one], None)
                        busy.pop(one).join()
                        one.close()
    finally:
        for one, process in busy.items():
            process.kill()
            process.join()
            one.close()


def _send(one: Connection, process: Any, number: int | None) -> None:
    try:
        one.send(number)
    except ConnectionError as error:
        raise _died(process) from error


def _died(process: Any) -> UserError:
    process.join()
    code = process.exitcode
    how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with code {code}"
    memory = "; the machine may be short of memory: give fewer --workers" if code == -9 else ""
    return UserError(f"a worker process ended {how}{memory}. Run the same command again to go on")


def _worker(work: Callable[[int, Told], Any], main: Connection) -> None:
    """Runs in the new process: numbers in, results out, until None comes."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    try:
        while (number := main.recv()) is not None:
            try:
                result = work(number, lambda count: main.send(("told", count)))
            except ConnectionError:
                raise
            except Exception as error:  # whatever it is, the main process reports it
                error.add_note(traceback.format_exc())
                main.send(("raised", error))
                return
            main.send(("done", (number, result)))
    except (EOFError, ConnectionError):
        return  # the main process is gone
