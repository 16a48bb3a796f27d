"""A name server on loopback that says what a test wants, and the mount
namespace in which a program asks it.

    with NameServer() as dns:
        dns.hosts["replicas.test"] = ["127.0.7.1"]
        Process(dns.command(["kae-gateway"]), ...)

Answers A questions; AAAA is empty; other names do not exist.  With `sick` set
every answer is SERVFAIL.
"""
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

ADDRESS = "127.0.53.53"  # resolv.conf has no ports, so it must be 53 somewhere
A, NOERROR, SERVFAIL, NXDOMAIN = 1, 0, 2, 3


def usable():
    """Whether a program can be given a name server of its own here."""
    try:
        return os.geteuid() == 0 and subprocess.run(
            ["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


class NameServer:
    def __init__(self):
        self.hosts, self.sick = {}, False
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kae-dns-", dir="/tmp"))
        (self.dir / "resolv.conf").write_text(
            f"nameserver {ADDRESS}\noptions timeout:1 attempts:1\n")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ADDRESS, 53))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def command(self, command):
        """The command, asking this server."""
        return ["unshare", "-m", "sh", "-c",
                'mount --bind "$0" /etc/resolv.conf && exec "$@"',
                str(self.dir / "resolv.conf"), *map(str, command)]

    def _answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack(">H", question[at + 1:at + 3])
        addresses = self.hosts.get(".".join(labels).lower())
        code = SERVFAIL if self.sick else NXDOMAIN if addresses is None else NOERROR
        records = b"".join(
            struct.pack(">HHHIH", 0xc00c, A, 1, 0, 4) + socket.inet_aton(a)
            for a in addresses or () if kind == A and code == NOERROR)
        head = question[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(records) // 16, 0, 0)
        return head + question[12:at + 5] + records

    def _serve(self):
        while True:
            try:
                question, asker = self.socket.recvfrom(512)
                if not question:
                    return
                self.socket.sendto(self._answer(question), asker)
            except (OSError, IndexError, struct.error):
                continue

    def stop(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"", (ADDRESS, 53))
        self.thread.join(5)
        self.socket.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
