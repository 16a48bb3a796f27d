#!/usr/bin/env python3
"""A real PostgreSQL in a folder of its own, on a free loopback port.

    with Postgres() as pg:
        connect(pg.url)

    python3 tests/harness/postgres.py --run CMD...      KAE_TEST_DATABASE_URL is set
    python3 tests/harness/postgres.py --restart FOLDER  one that this file started

It is Debian's server, run by an unprivileged user (the server refuses root).
Nothing is synced to disk unless fsync=True: a test needs the rows for seconds.
With KAE_PG_TEMPLATE set, a data folder that template() has made, each server has a
copy of it: a tenth of the time that initdb takes.
"""
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])
from tests.harness import libpq  # noqa: E402
from tests.harness.process import free_port  # noqa: E402

USER = "kae"
MARK = "kae-harness"  # in the data folder of every server started here
START_TIMEOUT_S = 60


def bin_dir():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"),
                   key=lambda p: float(p.split("/")[4]))
    if not found:
        raise RuntimeError("no PostgreSQL server: apt-get install postgresql")
    return pathlib.Path(found[-1])


def as_owner(command):
    """The command as a user that PostgreSQL accepts."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups",
            *command]


def call(command):
    done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout.decode(errors='replace')}")


def own(folder):
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)


def initdb(data):
    call(as_owner([str(bin_dir() / "initdb"), "-D", str(data), "-U", USER, "-A", "trust",
                   "-E", "UTF8", "--locale=C", "--no-sync"]))


def template(folder):
    """A data folder in the folder, for KAE_PG_TEMPLATE."""
    own(folder)
    data = pathlib.Path(folder) / "data"
    initdb(data)
    return str(data)


class Postgres:
    """Started when made; stop() removes everything. A copy_of= another server
    follows it as a standby, until promote()."""

    def __init__(self, fsync=False, max_connections=100, settings=(), copy_of=None,
                 folder=None):
        self.bin = bin_dir()
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="kae-pg-", dir=folder))
        self.data = self.root / "data"
        self.popen = None
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": max_connections,
            "fsync": "on" if fsync else "off",
            "synchronous_commit": "on",
            "full_page_writes": "on" if fsync else "off",
            "shared_buffers": "32MB",
            "autovacuum": "off",
            "deadlock_timeout": "20ms",
            "log_min_messages": "warning",
            **dict(settings),
        }
        try:
            self._init(copy_of)
            self.start()
        except BaseException:
            self.stop()
            raise

    def _init(self, copy_of):
        own(self.root)
        made = os.environ.get("KAE_PG_TEMPLATE")
        if copy_of:
            call(as_owner([str(self.bin / "pg_basebackup"), "-D", str(self.data),
                           "-d", copy_of.url, "-R", "-c", "fast", "--no-sync"]))
        elif made:
            call(["cp", "-a", made, str(self.data)])
        else:
            initdb(self.data)
        call(as_owner(["touch", str(self.data / MARK)]))
        self.port = free_port()

    @property
    def url(self):
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def sql(self, text, url=None):
        """The rows of a script's answers, as lists of texts."""
        done = subprocess.run([str(self.bin / "psql"), "-XqAt", "-F", "\t", "-v",
                               "ON_ERROR_STOP=1", url or self.url],
                              input=text.encode(), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace"))
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def rows(self, statement, url=None):
        """The same of one statement, in a thirtieth of the time."""
        with libpq.Connection(url or self.url) as c:
            return c.rows(statement)

    def set(self, name, value):
        """Changes a setting of the running server, for every session."""
        self.sql(f"ALTER SYSTEM SET {name} = {value}")
        self.sql("SELECT pg_reload_conf()")

    def promote(self):
        """Ends the standby's following: it takes writes."""
        self.sql("SELECT pg_promote(true, 30)")

    @property
    def log(self):
        return (self.root / "log").read_text(errors="replace")

    def start(self):
        """Returns when the server takes connections."""
        command = [str(self.bin / "postgres"), "-D", str(self.data),
                   "-p", str(self.port)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.root / "log", "ab") as log:
            self.popen = subprocess.Popen(as_owner(command), cwd="/",
                                          stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, start_new_session=True)
        wait_ready(self.bin, self.port, lambda: self.popen.poll() is None,
                   self.root / "log")

    def stop(self):
        """Fast shutdown (clients are sent away), then removes the folder."""
        self._end(signal.SIGINT)
        shutil.rmtree(self.root, ignore_errors=True)

    def shutdown(self):
        """Stops the server and keeps its data for start()."""
        self._end(signal.SIGINT)

    def kill(self):
        """As a crash would: SIGQUIT ends every backend at once."""
        self._end(signal.SIGQUIT)

    def restart(self):
        self.shutdown()
        self.start()

    def _end(self, sig):
        if self.popen and self.popen.poll() is None:
            self.popen.send_signal(sig)
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        if (self.data / "postmaster.pid").exists():
            stop_restarted(self.data)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def wait_ready(binaries, port, alive, log):
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        ready = subprocess.run([str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1",
                                "-p", str(port)], stdin=subprocess.DEVNULL)
        if ready.returncode == 0:
            return
        if not alive() or time.monotonic() > end:
            raise RuntimeError(f"PostgreSQL did not start: {log.read_text(errors='replace')}")
        time.sleep(0.05)


def postmaster(data):
    """(pid, port) of the server that runs on the folder."""
    lines = (data / "postmaster.pid").read_text().splitlines()
    return int(lines[0]), int(lines[3])


def gone(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return True
    return state.split()[0] == "Z"


def stop_restarted(data):
    """Stops by its own pid a server that is no child of ours."""
    try:
        pid, _ = postmaster(data)
    except (OSError, IndexError, ValueError):
        return
    if f"{data}\0".encode() not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
        return
    os.kill(pid, signal.SIGINT)
    end = time.monotonic() + 30
    while not gone(pid) and time.monotonic() < end:
        time.sleep(0.02)


def restart_in_place(data):
    """Stops the server on the folder and starts it with the same arguments."""
    if not (data / MARK).exists():
        raise SystemExit(f"{data} is not a server of these tests")
    pid, port = postmaster(data)
    command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    command = [c.decode() for c in command]
    stop_restarted(data)
    log = data.parent / "log"
    with open(log, "ab") as out:
        server = subprocess.Popen(as_owner(command), cwd="/", stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=out, start_new_session=True)
    wait_ready(pathlib.Path(command[0]).parent, port,
               lambda: server.poll() is None, log)


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--run":
        with Postgres() as pg:
            done = subprocess.run(sys.argv[2:], env={**os.environ,
                                                     "KAE_TEST_DATABASE_URL": pg.url})
        return done.returncode
    if len(sys.argv) == 3 and sys.argv[1] == "--restart":
        restart_in_place(pathlib.Path(sys.argv[2]))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
