"""What bench/fault_server.py does to a fleet beside killing: each fault lasts for a while, and passes."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "faults"))
from failing_calls import FailingCalls  # noqa: E402

SILENT_CLIENTS = 200
WRONG_CLOCK_SECONDS = 3600


def redis_command(redis, *words):
    subprocess.run(["redis-cli", "-p", str(redis.port), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)


@contextlib.contextmanager
def accept_fails(fleet, calls):
    """No file may be opened any more: connections wait."""
    with calls.failing("accept4", errno.ENFILE):
        yield


@contextlib.contextmanager
def threads_fail(fleet, calls):
    """No thread can be made: requests are turned away."""
    with calls.failing("pthread_create", errno.EAGAIN):
        yield


@contextlib.contextmanager
def clock_jumps(fleet, calls):
    """The wall clocks of gateway and workers are an hour ahead."""
    with calls.failing("clock", WRONG_CLOCK_SECONDS):
        yield


@contextlib.contextmanager
def redis_is_full(fleet, calls):
    """Nothing can be written."""
    redis_command(fleet.redis, "CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        redis_command(fleet.redis, "CONFIG", "SET", "maxmemory", "0")


@contextlib.contextmanager
def redis_stands_still(fleet, calls):
    process = fleet.redis.process
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def folder_is_gone(fleet, calls):
    """No picture can be stored or read: jobs that end now fail with the reason, once. A worker that starts makes the folder."""
    away, between = fleet.pictures + ".away", fleet.pictures + ".between"
    os.rename(fleet.pictures, away)
    try:
        yield
    finally:
        if os.path.exists(fleet.pictures):
            os.rename(fleet.pictures, between)
        os.rename(away, fleet.pictures)
        if os.path.exists(between):
            for name in os.listdir(between):
                if name.endswith(".png"):
                    os.rename(os.path.join(between, name), os.path.join(fleet.pictures, name))
            shutil.rmtree(between)


@contextlib.contextmanager
def announcement_is_bad(fleet, calls):
    """Of a worker that writes what nobody can read."""
    redis_command(fleet.redis, "SET", "ernie-image:2:worker:x", "nonsense")
    redis_command(fleet.redis, "ZADD", "ernie-image:2:workers", "99999999999999", "x")
    yield


@contextlib.contextmanager
def clients_are_silent(fleet, calls):
    """Many connections on which nothing is asked."""
    with contextlib.ExitStack() as clients:
        for _ in range(SILENT_CLIENTS):
            with contextlib.suppress(OSError):
                clients.enter_context(socket.create_connection(("127.0.0.1", fleet.gateway.port), timeout=1))
        yield


KINDS = {"accept": accept_fails, "threads": threads_fail, "clock": clock_jumps, "redis-full": redis_is_full,
         "redis-still": redis_stands_still, "folder": folder_is_gone, "announcement": announcement_is_bad,
         "silent": clients_are_silent}


def make_trouble(fleet, calls, names, seconds_each, pause, happened):
    """Each of the kinds `names` in turn, counted in `happened`."""
    for name in names:
        time.sleep(pause)
        happened[name] += 1
        with KINDS[name](fleet, calls):
            time.sleep(seconds_each)
