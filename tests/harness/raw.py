"""HTTP as bytes, for requests that a client library would refuse to send."""
import dataclasses
import json
import socket


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict  # names in lower case; of several lines the last
    raw: bytes
    closed: bool  # the server ended the connection behind it

    @property
    def json(self):
        return json.loads(self.raw)


class Raw:
    def __init__(self, port, timeout=20, tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        if tls:
            # An end that is not said (close_notify) raises.
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1",
                                          suppress_ragged_eofs=False)
        self.bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        try:
            got = self.socket.recv(65536)
        except ConnectionResetError:
            got = b""
        self.bytes += got
        return bool(got)

    def answer(self, head=False):
        """The next whole answer; None at the end of the stream."""
        while b"\r\n\r\n" not in self.bytes:
            if not self.more():
                return None
        top, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        lines = top.decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, v in
                   (line.split(":", 1) for line in lines[1:])}
        length = 0 if head else int(headers.get("content-length", 0))
        while len(self.bytes) < length:
            if not self.more():
                raise AssertionError("the body is cut off")
        body, self.bytes = self.bytes[:length], self.bytes[length:]
        return Answer(int(lines[0].split(" ")[1]), headers, body,
                      headers.get("connection") == "close")


def exchange(port, data, head=False):
    with Raw(port) as c:
        c.send(data)
        return c.answer(head)
