"""A real haproxy before servers on loopback, as one would put it there: it asks
/readyz of their admin ports, and sends nothing again that a server may have seen.

    with Haproxy([(port, admin_port), ...]) as h:
        h.port              # where clients connect
        h.states()          # ["UP", "DOWN"]
"""
import csv
import io
import pathlib
import shutil
import signal
import socket
import tempfile

from tests.harness.process import Process, free_port, wait_until

CONFIG = """
global
    stats socket {stats} mode 600 level admin
    maxconn 2000
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    # Slow to say so is not away: without this it were after `inter`.
    timeout check 5s
    retries 3
    option redispatch 1
    # Only a connection that never was: no request has been sent on it.
    retry-on conn-failure
    option forwardfor
frontend clients
    bind 127.0.0.1:{port}
    default_backend gateways
backend gateways
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    # An idle connection is given up before the server would close it.
    default-server inter 100ms fall 1 rise 1 pool-purge-delay 500ms
{servers}
"""


class Haproxy:
    """Started when made; stop() removes everything."""

    def __init__(self, servers):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="kae-haproxy-"))
        self.port, self.process = free_port(), None
        try:
            config = self.root / "haproxy.cfg"
            config.write_text(CONFIG.format(
                stats=self.root / "stats", port=self.port, servers="\n".join(
                    f"    server s{n} 127.0.0.1:{port} check port {admin}"
                    for n, (port, admin) in enumerate(servers))))
            self.process = Process(["haproxy", "-db", "-f", config], {})
            self.wait(["UP"] * len(servers))
        except BaseException:
            self.stop()
            raise

    def figures(self):
        """What `show stat` says of each server; nothing while it starts."""
        told = b""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(str(self.root / "stats"))
                s.sendall(b"show stat -1 4 -1\n")
                while part := s.recv(65536):
                    told += part
        except OSError:
            return []
        return list(csv.DictReader(io.StringIO(told.decode().lstrip("# "))))

    def states(self):
        return [server["status"] for server in self.figures()]

    def wait(self, states, timeout=30):
        """Until the servers are in these states, as it sees them."""
        wait_until(lambda: self.states() == states, timeout,
                   what=f"haproxy to see {states}, not {self.states()}")

    def stop(self):
        if self.process and self.process.running():
            self.process.signal(signal.SIGTERM)
            self.process.wait(20)
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
