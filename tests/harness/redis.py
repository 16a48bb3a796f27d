"""A real redis-server in a folder of its own, on a free loopback port.

    with Redis() as r:
        r.do("PING")        # "PONG", as redis-cli prints it
        r.freeze(); r.thaw(); r.kill(); r.start()

It keeps nothing: a server that is killed and started again is empty.
"""
import pathlib
import shutil
import signal
import subprocess
import tempfile

from tests.harness.process import Process, free_port, wait_until


class Redis:
    """Started when made; stop() removes everything."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="kae-redis-"))
        self.port = free_port()
        self.process = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        self.process = Process(
            ["redis-server", "--port", self.port, "--bind", "127.0.0.1",
             "--dir", self.root, "--save", "", "--appendonly", "no"], {})
        wait_until(lambda: self.do("PING") == "PONG", 20, what="redis-server")

    def do(self, *words):
        done = subprocess.run(
            ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=20)
        return done.stdout.decode(errors="replace").strip()

    def kill(self):
        """As a crash would."""
        self.process.signal(signal.SIGKILL)
        self.process.popen.wait(20)

    def freeze(self):
        self.process.signal(signal.SIGSTOP)

    def thaw(self):
        self.process.signal(signal.SIGCONT)

    def stop(self):
        if self.process and self.process.running():
            self.thaw()
            self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


class WithRedis:
    """Before OnStack among the bases of a test class: its stack has a Redis."""

    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.addClassCleanup(cls.redis.stop)
        cls.env = {"REDIS_URL": cls.redis.url}
        super().setUpClass()
