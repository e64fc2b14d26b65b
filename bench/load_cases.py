"""What honest clients get while others misbehave, or while the store is away: the cases of load_server.py.

Others, and those who measure, are processes of their own, so that neither waits for the other's turn.
"""

import asyncio
import itertools
import multiprocessing
import random
import signal
import time

HONEST_ADDRESS = "127.0.0.2"  # the others come from 127.0.0.1
HONEST_PER_SECOND = 10
SERVED_WITHIN_SECONDS = 1.0
SERVED_SHARE = 0.95
HEALTH_WITHIN_SECONDS = 0.1
HEALTH_PAUSE_SECONDS = 0.05
FAILED_WITHIN_SECONDS = 2.0
AWAY_SECONDS = 6.0
GIVE_UP_SECONDS = 20.0
BYTE_SECONDS = 1.0  # between two bytes of a slow client; it comes again as long after it was closed

JOB = b'{"prompt":"a red apple","num_inference_steps":1,"use_pe":false}'
QUESTIONS = tuple(("GET", path, b"") for path in ("/", "/v1/models", "/v1/jobs", "/v1/queue")) + (("POST", "/v1/jobs", JOB),)


async def asked_once(port, method, path, body=b"", address=None):
    """Seconds and status of one request on a connection of its own; status 0 if it was lost or not answered in time."""
    start = time.monotonic()
    try:
        status = await asyncio.wait_for(_status(port, method, path, body, address), GIVE_UP_SECONDS)
    except (OSError, ValueError, IndexError, asyncio.TimeoutError):
        status = 0
    return time.monotonic() - start, status


async def _status(port, method, path, body, address):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0) if address else None)
    try:
        head = "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % (method, path)
        if body:
            head += "Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        writer.write(head.encode() + b"\r\n" + body)
        return int((await reader.read()).split()[1])  # all of it, as a client does
    finally:
        writer.close()


async def _slow_client(number, port, end):
    """Half of them send a head, half a body, which never end."""
    draw = random.Random(number)
    head = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    with_body = (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Content-Length: 100000\r\n\r\n{")
    await asyncio.sleep(draw.uniform(0, BYTE_SECONDS))
    while time.monotonic() < end:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(with_body if number % 2 else head)
            while time.monotonic() < end and not reader.at_eof() and not writer.is_closing():
                await asyncio.sleep(BYTE_SECONDS)
                writer.write(b" ")
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(BYTE_SECONDS)


def _slow_clients(port, clients, end):
    async def all_of_them():
        await asyncio.gather(*(_slow_client(i, port, end) for i in range(clients)))
    asyncio.run(all_of_them())


async def _honest_client(port, seconds):
    """Asks at a steady rate, whether it has been answered or not."""
    end = time.monotonic() + seconds
    asked = []
    for method, path, body in itertools.cycle(QUESTIONS):
        if time.monotonic() >= end:
            break
        asked.append(asyncio.create_task(asked_once(port, method, path, body, HONEST_ADDRESS)))
        await asyncio.sleep(1 / HONEST_PER_SECOND)
    return await asyncio.gather(*asked)


def slow_case(server, clients, seconds):
    """Slow connections of one address; an honest client of another, which begins when all of them are there."""
    others = multiprocessing.Process(target=_slow_clients, args=(server.port, clients, time.monotonic() + seconds + 5),
                                     daemon=True)
    others.start()
    time.sleep(5)
    answers = asyncio.run(_honest_client(server.port, seconds))
    others.terminate()
    others.join()
    served = sum(status in (200, 202, 429) and taken <= SERVED_WITHIN_SECONDS for taken, status in answers)
    share = served / max(1, len(answers))
    return {"slow_clients": clients, "seconds": seconds, "honest_requests": len(answers), "served_within_1_s": served,
            "share": round(share, 4), "statuses": _counts(status for _, status in answers), **_times(answers),
            "broken": [] if share >= SERVED_SHARE else ["honest requests"]}


async def _health(port, seconds):
    end = time.monotonic() + seconds
    answers = []
    while time.monotonic() < end:
        answers.append(await asked_once(port, "GET", "/healthz"))
        await asyncio.sleep(HEALTH_PAUSE_SECONDS)
    return answers


def _measure_health(port, seconds, result):
    result.put(asyncio.run(_health(port, seconds)))


def while_health_is_asked(port, seconds, action):
    """What `action` returns, and the answers of /healthz meanwhile."""
    result = multiprocessing.Queue()
    measuring = multiprocessing.Process(target=_measure_health, args=(port, seconds, result), daemon=True)
    measuring.start()
    done = action()
    answers = result.get()
    measuring.join()
    return done, answers


async def _calls_without_store(port, seconds):
    end = time.monotonic() + seconds
    answers = []
    while time.monotonic() < end:
        questions = QUESTIONS[2:] + (("GET", "/readyz", b""), ("GET", "/metrics", b""))
        answers += await asyncio.gather(*(asked_once(port, *question, HONEST_ADDRESS) for question in questions))
    return answers


def polling_case(server, redis, run_polling, seconds):
    """`run_polling(seconds)` has clients poll; then Redis stands still while they go on."""
    _, healthy = while_health_is_asked(server.port, seconds, lambda: run_polling(seconds))
    polling = multiprocessing.Process(target=run_polling, args=(AWAY_SECONDS + 4,), daemon=True)
    polling.start()
    time.sleep(3)
    redis.process.send_signal(signal.SIGSTOP)
    try:
        failed, away = while_health_is_asked(server.port, AWAY_SECONDS,
                                             lambda: asyncio.run(_calls_without_store(server.port, AWAY_SECONDS)))
    finally:
        redis.process.send_signal(signal.SIGCONT)
    polling.terminate()
    polling.join()
    broken = []
    for name, answers in (("healthz", healthy), ("healthz without Redis", away)):
        if any(status != 200 or taken > HEALTH_WITHIN_SECONDS for taken, status in answers):
            broken.append(name)
    if any(status != 503 or taken > FAILED_WITHIN_SECONDS for taken, status in failed):
        broken.append("calls without Redis")
    return {"seconds": seconds, "healthz": {"asked": len(healthy), **_times(healthy)},
            "healthz_without_redis": {"asked": len(away), **_times(away)},
            "calls_without_redis": {"asked": len(failed), "statuses": _counts(status for _, status in failed), **_times(failed)},
            "broken": broken}


def _counts(values):
    values = list(values)
    return {str(value): values.count(value) for value in sorted(set(values))}


def _times(answers):
    ordered = sorted(taken for taken, _ in answers)
    at = lambda part: round(1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)
    return {"ms": {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "most": round(1000 * ordered[-1], 1)}} if ordered else {}
