"""A Docker daemon of the tests' own, with the images that no registry gives them.

All of it is in namespaces: this process gets a network of its own, in which ports,
bridges and rules are nobody else's and from which slirp4netns leads out; the daemon
and its containers are one process to the machine, and all end when it does, which
is at the latest when this process ends, however it ends.  What is left then is a
folder, which the next run removes.

KAE_DOCKER_KEEP=FOLDER keeps the daemon's folder, and so its images, for the next
run.
"""
import atexit
import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from tests.harness.debian13 import KEYS, archive
from tests.harness.process import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# What bare Debian is made of is kept from run to run, as tests/clean.sh does.
BASE = ROOT / "build" / "containers" / "trixie.tar"
RELEASE = "trixie"
TOOLS = ("dockerd", "docker-compose", "mmdebstrap", "iptables", "slirp4netns",
         "setpriv", "unshare", "nsenter", "ip")
PREFIX = "kae-docker-"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
CLONE_NEWNET = 0x40000000
DNS = "10.0.2.3"  # of slirp4netns
# A group weighs as much as one process beside it, and in this one are all containers:
# one that builds can wait, but a stack in which each waits for the other cannot.
TO_BUILD, TO_RUN = 2, 16
START_S = 120
ANSWER_S = 120
BUILD_S = 1500  # ten times what it takes
# Whoever has no parent any more has nothing left to do.
WITH_US = ("setpriv", "--pdeathsig", "KILL")
# As in Debian's own image: nothing is unpacked twice as slowly as it need be, and
# what nobody reads in a container is not.  And unlike it: to hash every authority's
# certificate takes ten seconds, and nothing here asks any of them.
DPKG = ("force-unsafe-io",
        *(f"path-exclude=/usr/share/{d}/*" for d in (
            "doc", "info", "locale", "man", "ca-certificates/mozilla")),
        "path-include=/usr/share/doc/*/copyright",
        "path-include=/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt")
APT = ('Acquire::Languages "none"', 'Acquire::Retries "3"')


class Unable(Exception):
    """This machine does not let a daemon run: why."""


def run(command, timeout=BUILD_S, env=None, **kw):
    """Its output; an AssertionError with the last of it when it fails."""
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=timeout, env=env, check=False, **kw)
    out = done.stdout.decode(errors="replace")
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit status "
                             f"{done.returncode}\n{out[-6000:]}")
    return out


def bare_debian(folder):
    """A tar of a Debian 13 that has only what every Debian has, made in this folder;
    mmdebstrap takes half the time of debootstrap."""
    if not BASE.exists():
        BASE.parent.mkdir(parents=True, exist_ok=True)
        new = folder / BASE.name
        run([*WITH_US, "unshare", "--mount", "--pid", "--fork", "--mount-proc",
             "--kill-child", "mmdebstrap", "--variant=minbase", "--mode=root",
             *(f"--dpkgopt={line}" for line in DPKG), *(f"--aptopt={line}" for line in APT),
             RELEASE, new, f"deb [signed-by={KEYS}] {archive()} {RELEASE} main"],
            env={**os.environ, "TMPDIR": str(folder)})
        shutil.move(new, f"{BASE}.{os.getpid()}")
        os.replace(f"{BASE}.{os.getpid()}", BASE)
    return BASE


def buildkit():
    """Whether this Docker has it, which does not write layers that no image has: from
    23 on it is a plug-in."""
    version = run(["/usr/bin/docker", "--version"])
    return int(re.search(r"\d+", version).group()) < 23 or subprocess.run(
        ["/usr/bin/docker", "buildx", "version"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, check=False).returncode == 0


class OverSocket(http.client.HTTPConnection):
    """The daemon's API itself, without a process of Docker's for each question."""

    def __init__(self, path):
        super().__init__("docker", timeout=ANSWER_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self.path)


def remove_abandoned():
    """Folders whose owner was killed before it could."""
    for path in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with open(path, "a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            remove_cgroups(path.parent.name)
            shutil.rmtree(path.parent, ignore_errors=True)


def weigh(name, weight):
    """Makes the group of all containers, or weighs it again, by either version of
    control groups."""
    file, usual = (CGROUPS / "cpu" / name / "cpu.shares", 1024)
    if (CGROUPS / "cgroup.controllers").exists():
        file, usual = (CGROUPS / name / "cpu.weight", 100)
    try:
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(weight * usual))
    except OSError:
        pass  # then they have little of a busy machine


def remove_cgroups(name):
    for top in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            os.rmdir(folder)


class Daemon:
    def __init__(self):
        remove_abandoned()
        kept = os.environ.get("KAE_DOCKER_KEEP")
        self.keep = bool(kept)
        self.dir = pathlib.Path(kept or tempfile.mkdtemp(prefix=PREFIX))
        self.dir.mkdir(exist_ok=True)
        self.lock = None
        if not self.keep:
            self.lock = open(self.dir / "lock.new", "w", encoding="ascii")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            os.rename(self.dir / "lock.new", self.dir / "lock")
        self.env = {**os.environ, "DOCKER_HOST": f"unix://{self.dir}/docker.sock",
                    "COMPOSE_DOCKER_CLI_BUILD": "1",
                    "PATH": f"/usr/bin:{os.environ['PATH']}",
                    "COMPOSE_ANSI": "never", "COMPOSE_HTTP_TIMEOUT": "300"}
        self.process = self.way_out = self.pid = None

    def start(self):
        """In the main thread, before there are others: what it starts ends with
        it, and the network is that of threads and processes which follow."""
        missing = [t for t in TOOLS if not shutil.which(t)]
        if os.geteuid() != 0 or missing or not os.path.exists("/dev/net/tun"):
            raise Unable(f"needs root, /dev/net/tun, and {', '.join(missing) or 'nothing'}"
                         " more")
        self.env["DOCKER_BUILDKIT"] = str(int(buildkit()))
        atexit.register(self.stop)
        # An end that can be cleaned up behind, as of Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.own_network()
        weigh(self.dir.name, TO_BUILD)
        log = self.dir / "log"
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [*WITH_US, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child",
                 "dockerd", "--data-root", self.dir / "data", "--exec-root",
                 self.dir / "exec", "-H", self.env["DOCKER_HOST"], "--dns", DNS,
                 "--pidfile", self.dir / "pid", "--cgroup-parent", f"/{self.dir.name}",
                 "--exec-opt", "native.cgroupdriver=cgroupfs"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True)
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            if subprocess.run(["/usr/bin/docker", "info"], env=self.env, check=False,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                self.pid, = child_of(self.process.pid)
                return
            time.sleep(0.1)
        said = log.read_text(errors="replace").splitlines()[-3:]
        self.stop()
        raise Unable("dockerd does not start: " + " ".join(said)[-400:])

    def own_network(self):
        """Leaves the machine's network for a new one."""
        outside = os.open("/proc/self/ns/net", os.O_RDONLY)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            raise Unable(f"no network of its own: {os.strerror(ctypes.get_errno())}")
        run(["ip", "link", "set", "lo", "up"])
        told, tell = os.pipe()
        with open(self.dir / "slirp.log", "wb") as out:
            self.way_out = subprocess.Popen(
                ["nsenter", f"--net=/proc/{os.getpid()}/fd/{outside}", *WITH_US,
                 "slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback",
                 f"--ready-fd={tell}", str(os.getpid()), "tap0"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                pass_fds=[tell], start_new_session=True)
        os.close(tell)
        ready = os.read(told, 1)  # or the end of slirp4netns
        os.close(told)
        os.close(outside)
        if not ready:
            raise Unable("slirp4netns: " + (self.dir / "slirp.log").read_text()[-400:])

    def docker(self, *args, timeout=BUILD_S, **kw):
        return run(["/usr/bin/docker", *args], timeout, self.env, **kw)

    def get(self, path):
        """What the daemon answers, out of its JSON."""
        with contextlib.closing(OverSocket(str(self.dir / "docker.sock"))) as c:
            c.request("GET", path)
            r = c.getresponse()
            text = r.read().decode()
        if r.status != 200:
            raise AssertionError(f"{path}: {r.status} {text}")
        return json.loads(text)

    def build(self, folder, targets):
        """Images {name: target} of a folder's Dockerfile, one after the other."""
        for name, target in targets.items():
            self.docker("build", "-q", "-t", name, "--target", target, folder)

    def has(self, image):
        return image in self.docker("images", "--format", "{{.Repository}}:{{.Tag}}")

    def kill(self, pid):
        """A process that the daemon knows by this number."""
        run(["nsenter", f"--pid=/proc/{self.pid}/ns/pid", "kill", "-KILL", str(pid)])

    def stop(self):
        """Ends every container and the daemon, and leaves nothing behind; a second
        time does nothing."""
        if self.keep and self.pid:
            for container in self.docker("ps", "-aq").split():
                self.docker("rm", "-f", "-v", container)
            self.docker("network", "prune", "-f")
            self.docker("volume", "prune", "-f")
            os.kill(self.pid, signal.SIGTERM)
            self.process.wait(60)
        self.pid = None
        if self.process and self.process.poll() is None:
            for pid in child_of(self.process.pid):  # and so all that it has started
                os.kill(pid, signal.SIGKILL)
            self.process.wait(60)
        if self.way_out:
            self.way_out.kill()
            self.way_out.wait(60)
        remove_cgroups(self.dir.name)
        if not self.keep:
            wait_until(self.remove, 60, 0.2, "the end of the daemon's folder")
        atexit.unregister(self.stop)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        return not self.dir.exists()


def child_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]
