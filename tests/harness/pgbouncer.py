"""Debian's pgbouncer before a server of tests/harness/postgres.py, on a free
loopback port, run by an unprivileged user.

    with PgBouncer(postgres) as pooler:
        connect(pooler.url)
"""
import pathlib
import pwd
import os
import re
import shutil
import signal
import subprocess
import tempfile

from tests.harness.postgres import USER, as_owner, free_port
from tests.harness.process import wait_until

PROGRAM = "/usr/sbin/pgbouncer"


def version(command=(PROGRAM,)):
    said = subprocess.run([*command, "--version"], stdout=subprocess.PIPE).stdout.decode()
    return tuple(int(n) for n in re.search(r"(\d+)\.(\d+)\.(\d+)", said).groups())


class PgBouncer:
    """Started when made; stop() removes everything."""

    def __init__(self, postgres, command=(PROGRAM,), users=(), **settings):
        self.postgres, self.command, self.port = postgres, command, free_port()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="kae-pgb-"))
        self.popen = None
        lines = {
            "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "",
            "auth_type": "trust", "auth_file": self.root / "users",
            "pool_mode": "transaction", "default_pool_size": 4, "max_client_conn": 200,
            "admin_users": USER, "server_login_retry": 0.1, **settings,
        }
        users = {USER: "", **dict(users)}  # name -> settings of the [users] section
        (self.root / "users").write_text("".join(f'"{u}" ""\n' for u in users))
        (self.root / "ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n[pgbouncer]\n"
            + "".join(f"{k} = {v}\n" for k, v in lines.items())
            + "[users]\n" + "".join(f"{u} = {v}\n" for u, v in users.items() if v))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.root, owner.pw_uid, owner.pw_gid)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self):
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def log(self):
        return (self.root / "log").read_text(errors="replace")

    def start(self):
        with open(self.root / "log", "ab") as log:
            self.popen = subprocess.Popen(
                as_owner([*self.command, str(self.root / "ini")]), cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def ready():
            if self.popen.poll() is not None:
                raise RuntimeError(f"pgbouncer did not start: {self.log}")
            try:
                return self.postgres.sql("SELECT 1", self.url)
            except RuntimeError:
                return False
        wait_until(ready, 20, what="pgbouncer")

    def kill(self):
        if self.popen and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait()

    def stop(self):
        if self.popen and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
