"""A collector for OTLP/HTTP with JSON that believes nothing it is sent."""
import http.server
import json
import re
import threading
import time

from tests.harness.process import free_port

HEX32, HEX16 = re.compile(r"^[0-9a-f]{32}$"), re.compile(r"^[0-9a-f]{16}$")
DIGITS = re.compile(r"^-?[0-9]+$")
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)
SPAN_MEMBERS = {"traceId", "spanId", "parentSpanId", "flags", "name", "kind",
                "startTimeUnixNano", "endTimeUnixNano", "attributes", "status"}


class Span:
    def __init__(self, raw, service):
        self.raw, self.service = raw, service
        self.trace, self.id = raw["traceId"], raw["spanId"]
        self.parent = raw.get("parentSpanId")
        self.name, self.kind = raw["name"], raw["kind"]
        self.start, self.end = int(raw["startTimeUnixNano"]), int(raw["endTimeUnixNano"])
        self.attributes = attributes(raw["attributes"])
        self.failed = raw.get("status", {}).get("code") == 2

    def __repr__(self):
        return (f"{self.service} {self.name} {self.id} of {self.parent} "
                f"{(self.end - self.start) / 1e6:.3f} ms {self.attributes}")


def fail_unless(claim, what):
    if not claim:
        raise ValueError(what)


def attributes(items):
    """Checked, as a dict: keys once, each value of one kind, integers as strings."""
    out = {}
    for item in items:
        fail_unless(set(item) == {"key", "value"} and len(item["value"]) == 1, item)
        (kind, value), = item["value"].items()
        fail_unless(kind in ("stringValue", "intValue"), item)
        fail_unless(isinstance(value, str), item)
        fail_unless(kind != "intValue" or DIGITS.match(value), item)
        fail_unless(item["key"] and item["key"] not in out, item)
        out[item["key"]] = int(value) if kind == "intValue" else value
    return out


def once(pairs):
    fail_unless(len({k for k, _ in pairs}) == len(pairs), pairs)
    return dict(pairs)


def spans_of(body):
    """What the specification demands of an ExportTraceServiceRequest in JSON."""
    doc = json.loads(body, object_pairs_hook=once)
    fail_unless(set(doc) == {"resourceSpans"} and doc["resourceSpans"], doc)
    found = []
    for rs in doc["resourceSpans"]:
        resource = attributes(rs["resource"]["attributes"])
        fail_unless(resource.get("service.name"), resource)
        for ss in rs["scopeSpans"]:
            fail_unless(ss["scope"]["name"] and ss["spans"], ss)
            for s in ss["spans"]:
                fail_unless(set(s) <= SPAN_MEMBERS, s)
                fail_unless(HEX32.match(s["traceId"]) and int(s["traceId"], 16), s)
                fail_unless(HEX16.match(s["spanId"]) and int(s["spanId"], 16), s)
                if "parentSpanId" in s:
                    fail_unless(HEX16.match(s["parentSpanId"]) and
                                int(s["parentSpanId"], 16), s)
                fail_unless(s["name"] and type(s["kind"]) is int and 1 <= s["kind"] <= 5, s)
                for t in ("startTimeUnixNano", "endTimeUnixNano"):
                    fail_unless(isinstance(s[t], str) and DIGITS.match(s[t]), s)
                    fail_unless(abs(int(s[t]) / 1e9 - time.time()) < 3600, s)
                fail_unless(int(s["startTimeUnixNano"]) <= int(s["endTimeUnixNano"]), s)
                fail_unless(s.get("status", {"code": 2}) == {"code": 2}, s)
                found.append(Span(s, resource["service.name"]))
    return found


class Collector:
    """answers: what to say first, one after the other: a status, or (status,
    headers, body); "hang" says nothing until the collector is closed."""

    def __init__(self, port=0, answers=()):
        self.lock, self.open = threading.Lock(), threading.Event()
        self.spans, self.faults, self.requests = [], [], []
        self.answers = list(answers)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    answer = outer.answers.pop(0) if outer.answers else 200
                    outer.requests.append((self.path, dict(self.headers.items()), answer))
                if answer == "hang":
                    outer.open.wait(60)
                    self.close_connection = True
                    return
                status, headers, text = answer if isinstance(answer, tuple) else (
                    answer, {}, b"{}")
                try:
                    if status == 200:
                        outer.take(self.path, self.headers, body)
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    self.close_connection = True

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, allow_reuse_address = True, True

            def handle_error(self, request, client_address):
                pass  # who hangs up is told by what the test asks

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def take(self, path, headers, body):
        try:
            fail_unless(path == "/v1/traces", path)
            fail_unless(headers["Content-Type"] == "application/json", headers)
            spans = spans_of(body)
        except (ValueError, KeyError, TypeError) as fault:
            with self.lock:
                self.faults.append(repr(fault))
            return
        with self.lock:
            self.spans += spans

    def all(self):
        with self.lock:
            if self.faults:
                raise AssertionError(self.faults[0])
            return list(self.spans)

    def of(self, trace):
        return [s for s in self.all() if s.trace == trace]

    def close(self):
        self.open.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def nobody():
    """An address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"
