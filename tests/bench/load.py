"""Asks a server and says what came back.  Anything but 2xx ends the run.

wrk asks as many clients do that wait for their answers (a closed loop); openloop
(openloop.c) asks at a fixed rate, whatever comes back, and counts from when a request
was due, so that a server that stands still for a moment does not hide it.
"""
import dataclasses
import json
import pathlib
import re
import subprocess

from tests.bench.results import STORES
from tests.bench.servers import BIN, Trouble, cpu_us, rss_kb, threads

POSTS = pathlib.Path(__file__).resolve().parent / "wrk" / "posts.lua"
OPEN_CONNECTIONS = 1024
AGAIN = 12_000
PATIENCE_MS = 1000
REFUSED_MAX = 0  # the part of answers that may be refusals, whatever a scenario says
SLOW_PATIENCE_MS = 10_000


@dataclasses.dataclass
class Ask:
    """What is asked.  expect: a member that the answer has.

    posts(server) gives (token, body) after (token, body). With `fastest` each is sent
    once: enough are made for so many a second, and more requests than that end the run.
    Else AGAIN of them are sent in turn."""
    method: str
    path: str
    expect: str
    body: dict = None
    posts: object = None
    fastest: int = 0

    def next(self, server):
        return next(server.streams.setdefault(self.path, self.posts(server)))


def check(server, ask):
    """One answer, looked at."""
    body, headers = ask.body, {}
    if ask.posts:
        token, body = ask.next(server)
        headers["Authorization"] = f"Bearer {token}"
    answer = server.must(ask.method, ask.path, body, headers=headers)
    if ask.expect not in answer:
        raise Trouble(f"{server.name}: {ask.path} answered {answer}")
    return answer


def to_ms(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


class Meter:
    """CPU of a server's roles, and of threads by what they are for, between two moments."""

    def __init__(self, server):
        self.server = server
        pids = server.pids()
        self.before = {r: cpu_us(p) for r, p in pids.items()}
        self.threads = {r: threads(p) for r, p in pids.items()}

    def read(self, requests):
        now = self.server.pids()
        requests = max(requests, 1)
        return {"cpu_us": {r: round((cpu_us(p) - self.before.get(r, 0)) / requests, 2)
                           for r, p in now.items()},
                "rss_kb": {r: rss_kb(p) for r, p in now.items()},
                **self._hops(now, requests)}

    def _hops(self, pids, requests):
        """Of programs; the one that speaks HTTP and all others apart."""
        hops, switches = {}, 0
        for role, found in pids.items():
            if role in STORES:
                continue
            place = "gateway" if role in ("gateway", "knowalledge") else "services"
            for thread, (hop, spent, times) in threads(found).items():
                _, spent0, times0 = self.threads.get(role, {}).get(thread, (hop, 0, 0))
                name = f"{place} {hop}"
                hops[name] = hops.get(name, 0) + (spent - spent0) / requests
                switches += (times - times0) / requests
        return {"hops_us": {k: round(v, 2) for k, v in hops.items()},
                "switches": round(switches, 3)}


def write_post(server, ask):
    path = server.dir / "post"
    path.write_text(f"{server.token}\t{json.dumps(ask.body)}\n")
    return path


def write_posts(server, ask, n):
    path = server.dir / "posts"
    with open(path, "w") as f:
        for _ in range(n):
            token, body = ask.next(server)
            f.write(f"{token}\t{json.dumps(body)}\n")
    return path


def read_wrk(server, ask, out, may_refuse):
    """rps counts what was answered with 2xx; may_refuse: the part that may not be."""
    total = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
    if not total or int(total[1]) == 0 or "Socket errors" in out:
        server.check_alive()
        raise Trouble(f"{server.name}: {ask.path}: {out}")
    n, took_s = int(total[1]), to_ms(total[2] + total[3]) / 1000
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    refused = int(refused[1]) if refused else 0
    if refused > n * max(may_refuse, REFUSED_MAX):
        server.check_alive()
        raise Trouble(f"{server.name}: {ask.path}: {refused} of {n} answers were not 2xx: "
                      + server.why())
    return {"requests": n, "rps": round((n - refused) / took_s, 1), "refused": refused / n,
            **{f"p{p}_ms": to_ms(re.search(rf"^ +{p}% +(\S+)", out, re.M)[1])
               for p in (50, 99)}}


def wrk(server, ask, connections, seconds, may_refuse=0.0):
    """One run, with an answer looked at before and one behind it."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
               "--latency"]
    url = f"http{'s' if server.tls else ''}://127.0.0.1:{server.port}{ask.path}"
    ready = ask.fastest * (seconds + 1) or AGAIN
    if ask.posts:
        command += ["-s", POSTS, url, "--", write_posts(server, ask, ready)]
    elif ask.body:
        command += ["-s", POSTS, url, "--", write_post(server, ask)]
    else:
        command += ["-H", f"Authorization: Bearer {server.token}", url]
    check(server, ask)
    meter = Meter(server)
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True,
                         timeout=seconds + 60).stdout
    found = read_wrk(server, ask, out, may_refuse)
    if ask.fastest and found["requests"] > ready:
        raise Trouble(f"{server.name}: {ask.path}: {found['requests']} requests, of which "
                      "some were asked twice: raise `fastest`")
    server.settle()
    found.update(meter.read(found["requests"]))
    check(server, ask)
    return found


def start_openloop(server, ask, rate, seconds, patience_ms=PATIENCE_MS):
    program = BIN.parent / "bench" / "openloop"
    if not program.exists():
        raise Trouble(f"no {program}: build first")
    return subprocess.Popen(
        [str(program), str(server.port), str(rate), str(seconds), str(OPEN_CONNECTIONS),
         str(patience_ms), ask.method, ask.path, f"Authorization: Bearer {server.token}"],
        stdout=subprocess.PIPE, text=True)


def end_openloop(popen, seconds):
    out = popen.communicate(timeout=seconds + 60)[0].split()
    if popen.returncode:
        raise Trouble(f"openloop ended with {popen.returncode}")
    return {name: float(v) for name, v in zip(out[::2], out[1::2])}


def openloop(server, ask, rate, seconds):
    """What cannot be sent or answered at that rate shows in the figures."""
    check(server, ask)
    meter = Meter(server)
    got = end_openloop(start_openloop(server, ask, rate, seconds), seconds)
    if got["other"]:
        server.check_alive()
        raise Trouble(f"{server.name}: {ask.path} at {rate}/s: {got}")
    found = meter.read(got["sent"] * seconds)
    share = {k: got[k] / got["offered"] for k in ("refused", "unsent", "late", "failed")}
    return {"rps": got["ok"], "p50_ms": got["p50"], "p99_ms": got["p99"], **share, **found}


def beside_slow(server, ask, slow, slow_rate, connections, seconds):
    """wrk of the fast ones while others ask for slow ones at a rate."""
    beside = start_openloop(server, slow, slow_rate, seconds + 1, SLOW_PATIENCE_MS)
    try:
        found = wrk(server, ask, connections, seconds)
    finally:
        got = end_openloop(beside, seconds + 1)
    return {**found, "slow": got}
