"""The product with a proxy on every link, so that each dependency can fail.

            gateway ──▶ proxy ──▶ service ──▶ proxy ──▶ PostgreSQL
                                  service ──▶ proxy ──▶ Redis
                                  service ──▶ proxy ──▶ service   (events)

Four programs over tcp; `alone` is knowalledge with SQLite on a small file
system of its own, so that it can be full.
"""
import os
import pathlib
import subprocess
import tempfile

from tests.harness.proxy import Proxy
from tests.harness.redis import Redis
from tests.integration.stack import SERVICES, Stack


class Board:
    """A stack, and a handle for each thing that can be made to fail."""

    def __init__(self):
        self.proxies = {}
        self.stack = Stack("tcp")
        env = self.stack.env
        for s in SERVICES:
            name = f"BUS_{s.upper()}"
            listen = env[name]
            self.proxies[s] = Proxy(int(listen.rpartition(":")[2]))
            env[name] = f"tcp://127.0.0.1:{self.proxies[s].port}"
            self.stack.env_of[s] = {"BUS_LISTEN": listen}
        postgres = self.stack.postgres
        self.proxies["PostgreSQL"] = Proxy(postgres.port)
        env["DATABASE_URL"] = postgres.url.replace(
            str(postgres.port), str(self.proxies["PostgreSQL"].port))
        self.redis = Redis()
        self.proxies["Redis"] = Proxy(self.redis.port)
        env["REDIS_URL"] = self.redis.url.replace(
            str(self.redis.port), str(self.proxies["Redis"].port))
        try:
            self.stack.start()
        except BaseException:
            self.close()
            raise

    def close(self):
        for p in self.proxies.values():
            p.mend()
        try:
            self.stack.close()
        finally:
            self.redis.stop()
            for p in self.proxies.values():
                p.stop()


class Alone:
    """knowalledge, its data in a folder that holds 24 MiB."""

    SIZE = 24 << 20

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="kae-small-", dir="/tmp"))
        self.ballast = self.dir / "ballast"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "kae-small",
                        str(self.dir)], check=True)
        self.proxies = {}
        self.stack = Stack("one", DATA_DIR=str(self.dir / "data"))
        try:
            self.stack.start()
        except BaseException:
            self.close()
            raise

    def fill(self):
        """Takes every block that is left."""
        with open(self.ballast, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(1 << 16))
            except OSError:
                pass
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass

    def drain(self):
        self.ballast.unlink(missing_ok=True)

    def close(self):
        self.drain()
        try:
            self.stack.close()
        finally:
            subprocess.run(["umount", str(self.dir)], check=True)
            os.rmdir(self.dir)

