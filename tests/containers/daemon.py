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
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from tests.harness.debian13 import archive
from tests.harness.process import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# What bare Debian is made of is kept from run to run, as tests/clean.sh does.
BASE = ROOT / "build" / "containers" / "trixie.tar"
RELEASE = "trixie"
TOOLS = ("dockerd", "docker-compose", "debootstrap", "iptables", "slirp4netns",
         "setpriv", "unshare", "nsenter", "ip")
PREFIX = "kae-docker-"
CGROUPS = pathlib.Path("/sys/fs/cgroup")
CLONE_NEWNET = 0x40000000
DNS = "10.0.2.3"  # of slirp4netns
# A group weighs as much as one process beside it, and in this one are all containers.
CPU_WEIGHT = 16
START_S = 120
BUILD_S = 1500  # ten times what it takes
# Whoever has no parent any more has nothing left to do.
WITH_US = ("setpriv", "--pdeathsig", "KILL")
# As in Debian's own image: nothing is unpacked twice as slowly as it need be, and
# what nobody reads in a container is not.
DPKG = {"docker-apt-speedup": "force-unsafe-io\n",
        "docker": "".join(f"path-exclude /usr/share/{d}/*\n" for d in (
            "doc", "info", "locale", "man")) + "path-include /usr/share/doc/*/copyright\n"}
APT = {"docker-no-languages": 'Acquire::Languages "none";\n',
       "retries": 'Acquire::Retries "3";\n'}


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


def bare_debian():
    """A tar of a Debian 13 that has only what every Debian has."""
    if not BASE.exists():
        BASE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kae-docker-root-") as folder:
            # What the tar is of is readable for all; the folder need not be.
            root = pathlib.Path(folder) / RELEASE
            run(["debootstrap", "--variant=minbase", RELEASE, root, archive()])
            shutil.rmtree(root / "var/cache/apt/archives")
            for name, text in DPKG.items():
                (root / "etc/dpkg/dpkg.cfg.d" / name).write_text(text)
            for name, text in APT.items():
                (root / "etc/apt/apt.conf.d" / name).write_text(text)
            new = f"{BASE}.{os.getpid()}"
            run(["tar", "-C", root, "-cf", new, "."])
        os.replace(new, BASE)
    return BASE


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


def make_cgroup(name):
    """For all containers, with its weight by either version of control groups."""
    file, usual = (CGROUPS / "cpu" / name / "cpu.shares", 1024)
    if (CGROUPS / "cgroup.controllers").exists():
        file, usual = (CGROUPS / name / "cpu.weight", 100)
    try:
        file.parent.mkdir(exist_ok=True)
        file.write_text(str(CPU_WEIGHT * usual))
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
                    # One way of building, and one that both Debians have.
                    "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "1",
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
        atexit.register(self.stop)
        # An end that can be cleaned up behind, as of Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.own_network()
        make_cgroup(self.dir.name)
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
