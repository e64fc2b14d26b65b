"""Long work of the native library: in a thread of its own, so that the caller's stays open for Ctrl-C and runs the callbacks."""

import os
import queue
import sys
import threading

from ._errors import Busy, Cancelled

_POLL_SECONDS = 0.05
_running = set()
_running_lock = threading.Lock()
_interpreter_ends = False


class Work:
    """What one native pipeline does, one thing at a time."""

    def __init__(self, native):
        self.native = native
        self._turn = threading.Lock()
        self._run = None  # whose turn it is

    def do(self, run, work):
        """What ``work(ask)`` returns or raises. ``ask(function, *arguments)`` calls a function in the thread that called this, and
        gives what it returns; what it raises ends the work and is raised here. Raises Busy at once while another run is at work."""
        if not self._turn.acquire(blocking=False):
            raise Busy("the pipeline is at work in another call; wait for it, or load another")
        self._run = run
        try:
            return run.begin(self.native, work)
        finally:
            self._run = None
            self._turn.release()

    def stop(self):
        run = self._run
        if run is not None:
            run.stop()


class Run:
    """One such thing, which can be stopped from any thread, also before it has begun."""

    def __init__(self):
        self._native = None
        self._messages = queue.SimpleQueue()
        self._thread = threading.Thread(name="ernie-image")  # replaced when it begins
        self._stopping = False

    def stop(self):
        self._stopping = True
        native = self._native
        if native is not None:
            native.cancel()

    def again(self):
        """What comes next in the same call: is stopped if this was."""
        self._messages = queue.SimpleQueue()
        return self

    def begin(self, native, work):
        _stop_before_executors()
        self._thread = threading.Thread(target=self._body, args=(work,), name="ernie-image")
        with _running_lock:
            if _interpreter_ends:
                raise Cancelled("the interpreter ends")
            _running.add(self)
        self._native = native
        self._thread.start()
        try:
            return self._listen()
        except BaseException:
            self.end()
            raise
        finally:
            self._thread.join()
            self._native = None
            with _running_lock:
                _running.discard(self)

    def end(self):
        """Stops it and waits. A second Ctrl-C meanwhile changes nothing: it is a matter of a moment."""
        self.stop()
        while self._thread.is_alive():
            try:
                self.stop()
                self._thread.join(_POLL_SECONDS)
            except KeyboardInterrupt:
                continue

    def _body(self, work):
        try:
            if self._stopping:
                raise Cancelled("cancelled")
            self._messages.put(("done", work(self._ask)))
        except BaseException as error:  # told to the thread that waits
            self._messages.put(("failed", error))

    def _ask(self, function, *arguments):
        answer = queue.SimpleQueue()
        self._messages.put(("ask", (function, arguments, answer)))
        while not self._stopping:
            try:
                return answer.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
        raise Cancelled("cancelled")

    def _listen(self):
        while True:
            what, value = self._messages.get()
            if what == "ask":
                function, arguments, answer = value
                answer.put(function(*arguments))
            elif what == "failed":
                raise value
            else:
                return value


def _stop_all():
    """Before the interpreter waits for its threads: nobody will see what they make."""
    global _interpreter_ends
    with _running_lock:
        _interpreter_ends = True
        runs = list(_running)
    for run in runs:
        run.end()


def _forget_all():
    """In a forked child, whose only thread is the one that forked; the lock may have been held by another."""
    global _running_lock
    _running_lock = threading.Lock()
    _running.clear()


os.register_at_fork(after_in_child=_forget_all)
# Called before threads are waited for, which atexit's functions are not. Private, but concurrent.futures rests on it too.
_before_threads_end = getattr(threading, "_register_atexit", lambda function: None)
_before_threads_end(_stop_all)
_is_before_executors = False


def _stop_before_executors():
    """What was registered last is called first: once concurrent.futures is there, which waits for whatever its threads do, again."""
    global _is_before_executors
    if _is_before_executors or "concurrent.futures.thread" not in sys.modules:
        return
    _is_before_executors = True
    try:
        _before_threads_end(_stop_all)
    except RuntimeError:  # it ends already
        pass
