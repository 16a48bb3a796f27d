"""A provider of a language model that says what a test tells it to, on real
sockets, with every quirk that real ones have (docs/llm.md).

    with Provider() as p:
        p.answer = lambda request: says(f"about {request.user}")   # each request
        p.script = [fails(429, headers={"Retry-After": "1"})]      # before that
        ... start a program with **p.env() ...
        p.wait_for(1)[0].json["model"]

An answer is a function of the Exchange; what says(), fails() and the others
below return are such. Chunks go out one write each, so what a reader gets in one
piece is what stood in one.
"""
import json
import re
import socket
import ssl
import struct
import threading
import time

from tests.harness.process import free_port

MODEL = "fixture-1"
KEY = "sk-planted-" + "0123456789abcdef" * 2


class Request:
    def __init__(self, method, path, headers, raw):
        self.method, self.path, self.headers, self.raw = method, path, headers, raw
        self.at = time.monotonic()
        try:
            self.json = json.loads(raw)
        except ValueError:
            self.json = {}

    def _texts(self, role):
        for m in self.json.get("messages", []):
            if m["role"] != role:
                continue
            parts = m["content"]
            if isinstance(parts, str):
                yield parts
            else:
                yield from (p["text"] for p in parts if p["type"] == "text")

    @property
    def user(self):
        return "\n".join(self._texts("user"))

    @property
    def system(self):
        return "\n".join(self._texts("system"))

    @property
    def images(self):
        """The data: URLs of its images."""
        return [p["image_url"]["url"] for m in self.json.get("messages", [])
                if isinstance(m["content"], list)
                for p in m["content"] if p["type"] == "image_url"]

    @property
    def streams(self):
        return bool(self.json.get("stream"))

    @property
    def schema(self):
        """The name of the schema that the answer is held to; or None."""
        return self.json.get("response_format", {}).get("json_schema", {}).get("name")

    @property
    def form(self):
        return self.json.get("response_format", {}).get("type")


class Exchange:
    """One request and the connection on which it is to be answered."""

    def __init__(self, provider, request, connection):
        self.provider, self.request, self.connection = provider, request, connection
        self.keep = True

    def send(self, data):
        self.connection.sendall(data if isinstance(data, bytes) else data.encode())

    def head(self, status, headers):
        lines = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Fault'}"]
        lines += [f"{k}: {v}" for k, v in headers.items()]
        self.send("\r\n".join(lines) + "\r\n\r\n")

    def whole(self, status, body, headers=(), kind="application/json"):
        body = body if isinstance(body, bytes) else body.encode()
        self.head(status, {"Content-Type": kind, "Content-Length": len(body), **dict(headers)})
        self.send(body)

    def chunk(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        if data:
            self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def begin_stream(self, headers=()):
        self.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked",
                        "Cache-Control": "no-cache", **dict(headers)})

    def end_stream(self):
        self.send(b"0\r\n\r\n")

    def hang(self, timeout=60):
        """Until the provider is closed or let go, or the client leaves."""
        self.keep = False
        end = time.monotonic() + timeout
        self.connection.settimeout(0.05)
        while time.monotonic() < end and not self.provider.open.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except (TimeoutError, ssl.SSLWantReadError):
                continue
            except OSError:
                return

    def reset(self):
        """An RST in place of an end."""
        self.keep = False
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def cut(self):
        self.keep = False


# --- answers ----------------------------------------------------------------------


def usage_of(usage):
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1],
            "total_tokens": sum(usage)}


def completion(text, finish="stop", usage=(11, 7), refusal=None, **more):
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000,
            "model": MODEL, "choices": [{"index": 0, "message": message, "logprobs": None,
                                         "finish_reason": finish}], **more}
    if usage:
        body["usage"] = usage_of(usage)
    return body


def chunk_of(delta=None, finish=None, usage=None, **more):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000,
            "model": MODEL, "choices": choices, **more}
    if usage:
        body["usage"] = usage_of(usage)
    return body


def event(data, eol="\n", space=True, name=None):
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    head = f"event: {name}{eol}" if name else ""
    return head + f"data:{' ' if space else ''}{text}{eol}{eol}"


def in_pieces(text, size=9):
    return [text[i:i + size] for i in range(0, len(text), size)] or [""]


def events(text, finish="stop", usage=(11, 7), refusal=None, eol="\n", space=True, done=True,
           comments=False, obfuscation=False, pieces=None):
    """The events of a streamed answer, each as it goes out."""
    more = {"obfuscation": "Xq93"} if obfuscation else {}
    yield event(chunk_of({"role": "assistant", "content": ""}, **more), eol, space)
    for piece in pieces or in_pieces(text):
        if comments:
            yield f": keep-alive{eol}{eol}"
        yield event(chunk_of({"content": piece}, **more), eol, space)
    if refusal:
        yield event(chunk_of({"refusal": refusal}, **more), eol, space)
    if finish:
        yield event(chunk_of({}, finish, **more), eol, space)
    if usage:
        yield event(chunk_of(usage=usage, **more), eol, space)
    if done:
        yield event("[DONE]", eol, space)


def says(text, cut=None, stream=None, headers=(), **how):
    """An answer in the form that was asked for. text may be anything: what is no
    text becomes JSON. cut: bytes of each write, so that characters and JSON
    break between them; how: of events() or completion()."""
    text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    plain = {k: v for k, v in how.items() if k in ("finish", "usage", "refusal")}

    def answer(x):
        if not (x.request.streams if stream is None else stream):
            x.whole(200, json.dumps(completion(text, **plain)), headers)
            return
        x.begin_stream(headers)
        data = [e.encode() for e in events(text, **how)]
        if cut:
            joined = b"".join(data)
            data = [joined[i:i + cut] for i in range(0, len(joined), cut)]
        for piece in data:
            x.chunk(piece)
        x.end_stream()

    return answer


def refuses(words="I cannot help with that."):
    return says("", refusal=words)


def fails(status, body="", headers=(), kind="application/json"):
    """An error; what of body is no text becomes JSON."""
    text = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return lambda x: x.whole(status, text, headers, kind)


def openai_error(message="It failed.", type="server_error", code=None, param=None):
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def google_error(status, state, message="It failed.", delay=None, wrapped=True, reason=None):
    details = []
    if delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    if reason:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason})
    error = {"error": {"code": status, "message": message, "status": state, "details": details}}
    return [error] if wrapped else error


def in_a_string(error, outer="RESOURCE_EXHAUSTED"):
    """An error whose message is JSON with the error in it."""
    return {"error": {"message": json.dumps(error), "code": None, "status": outer}}


def vllm_error(message="It failed.", type="BadRequestError", code=400):
    return {"object": "error", "message": message, "type": type, "param": None, "code": code}


HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def html(status=502):
    return fails(status, HTML, kind="text/html")


def hangs():
    """Not a byte."""
    return lambda x: x.hang()


def stalls(text="A beginning ", events_n=3):
    """A stream that stops half way and stays open."""
    def answer(x):
        x.begin_stream()
        for e in list(events(text))[:events_n]:
            x.chunk(e)
        x.hang()

    return answer


def keeps_alive(every=0.02):
    """Comments for ever, and no text."""
    def answer(x):
        x.begin_stream()
        while not x.provider.open.wait(every):
            x.chunk(": processing\n\n")
        x.cut()

    return answer


def drips(text="Slowly.", every=0.02, after=0):
    """A byte at a time, behind so many events that come whole."""
    def answer(x):
        x.begin_stream()
        data = list(events(text, pieces=list(text)))
        for piece in data[:after]:
            x.chunk(piece)
        for byte in "".join(data[after:]).encode():
            x.chunk(bytes([byte]))
            if x.provider.open.wait(every):
                break
        x.cut()

    return answer


def breaks_off(text="A beginning that", how="cut", finish=None):
    """A stream that ends without a word of why; how: "cut" closes within the
    body, "clean" ends the body as if all were well, "reset" sends RST."""
    def answer(x):
        x.begin_stream()
        for e in events(text, finish=finish, usage=None, done=False):
            x.chunk(e)
        if how == "clean":
            x.end_stream()
        elif how == "reset":
            # Only when the client has what went before: RST throws that away.
            time.sleep(0.05)
            x.reset()
        else:
            x.cut()

    return answer


def fails_half_way(error, text="A beginning "):
    """An error object in a stream under 200."""
    def answer(x):
        x.begin_stream()
        for e in list(events(text, finish=None, usage=None, done=False)):
            x.chunk(e)
        x.chunk(event(error))
        x.end_stream()

    return answer


def wrong_length(text="An answer.", by=10):
    """A Content-Length that is by bytes too long, or (below 0) too short."""
    def answer(x):
        body = json.dumps(completion(text)).encode()
        x.head(200, {"Content-Type": "application/json", "Content-Length": len(body) + by,
                     "Connection": "close"})
        x.send(body)
        x.cut()

    return answer


def redirects(to):
    return fails(307, "", {"Location": to})


def floods(n, text="x" * 1000):
    """Far more than anybody reads."""
    def answer(x):
        x.begin_stream()
        for _ in range(n):
            x.chunk(event(chunk_of({"content": text})))
        x.cut()

    return answer


# --- the provider --------------------------------------------------------------------


class Provider:
    """tls: (certificate, key), PEM files."""

    def __init__(self, answer=None, script=(), tls=None, port=0):
        self.answer = answer or (lambda request: says("An answer."))
        self.script = list(script)
        self.requests, self.handshake_faults = [], 0
        self.changed = threading.Condition()
        self.open = threading.Event()  # set: what hangs lets go
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*map(str, tls))
        self.listener = socket.create_server(("127.0.0.1", port or free_port()), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}" \
                   f":{self.port}/v1"
        self.threads, self.closed = [], False
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def env(self, prefix="LLM", key=KEY, **more):
        """Settings of a program that asks this provider, with short pauses; more:
        such as FIRST_TOKEN_MS=100, without the prefix."""
        return {f"{prefix}_BASE_URL": self.url, f"{prefix}_MODEL": MODEL,
                f"{prefix}_API_KEY": key, "LLM_RETRY_MS": "5",
                **{f"{prefix}_{k}": str(v) for k, v in more.items()}}

    def wait_for(self, n, timeout=20):
        """The requests so far, when there are n."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.requests) >= n, timeout):
                raise AssertionError(f"{len(self.requests)} requests of {n} came")
            return list(self.requests)

    def taken(self):
        """The requests since this was asked last."""
        with self.changed:
            out, self.requests = self.requests, []
            return out

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            t = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            t.start()
            self.threads.append(t)

    def _serve(self, connection):
        try:
            connection.settimeout(60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            self._talk(connection)
        except ssl.SSLError:
            self.handshake_faults += 1
        except OSError:
            pass  # who hangs up is told by what the test asks
        finally:
            connection.close()

    def _talk(self, connection):
        rest = b""
        while not self.closed:
            request, rest = self._read(connection, rest)
            if not request:
                return
            with self.changed:
                answer = self.script.pop(0) if self.script else None
                self.requests.append(request)
                self.changed.notify_all()
            x = Exchange(self, request, connection)
            answer = answer or self.answer(request)
            if not callable(answer):
                answer = says(answer)
            answer(x)
            if not x.keep:
                return

    def _read(self, connection, data):
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None, b""
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = dict(re.split(r":\s*", l, maxsplit=1) for l in lines[1:])
        headers = {k.lower(): v for k, v in headers.items()}
        length = int(headers.get("content-length", 0))
        while len(data) < length:
            more = connection.recv(65536)
            if not more:
                return None, b""
            data += more
        return Request(method, path, headers, data[:length]), data[length:]

    def close(self):
        self.closed = True
        self.open.set()
        # close() alone does not end an accept() that waits.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Refusing:
    """An address where nobody listens, as a provider."""

    def __init__(self):
        self.url = f"http://127.0.0.1:{free_port()}/v1"

    env = Provider.env
