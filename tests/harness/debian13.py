"""A tool out of a package of Debian 13, unpacked beside the build: nothing of it is
installed, and what Debian 12 has stays as it is."""
import fcntl
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "debian13"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def archive():
    """Where this machine's own packages come from."""
    told = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"],
                          capture_output=True, text=True, check=True, timeout=60).stdout
    return next(uri for uri in told.split() if uri.rstrip("/").endswith("/debian"))


def codename():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    return ""


def apt(*args):
    """apt-get with lists, cache and status of its own."""
    place = PLACE / "apt"
    for sub in ("state/lists/partial", "cache/archives/partial"):
        (place / sub).mkdir(parents=True, exist_ok=True)
    (place / "state" / "status").touch()
    (place / "sources.list").write_text(f"deb [signed-by={KEYS}] {archive()} trixie main\n")
    options = {"Dir::State": place / "state", "Dir::State::status": place / "state/status",
               "Dir::Cache": place / "cache", "Dir::Etc::sourcelist": place / "sources.list",
               "Dir::Etc::sourceparts": "-", "Dir::Etc::parts": "-",
               "Dir::Etc::preferences": "-", "Dir::Etc::preferencesparts": "-",
               "APT::Sandbox::User": "root", "Acquire::Retries": "3"}
    subprocess.run(["apt-get", "-q", *(f"-o{k}={v}" for k, v in options.items()), *args],
                   cwd=PLACE, check=True, capture_output=True, timeout=300)


def tool(name, package):
    """The path of program `name` of this package."""
    if codename() == "trixie" and shutil.which(name):
        return pathlib.Path(shutil.which(name))
    PLACE.mkdir(parents=True, exist_ok=True)
    path = PLACE / package / "usr" / "bin" / name
    with open(PLACE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            apt("update")
            apt("download", package)
            deb, = PLACE.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, PLACE / package], check=True)
            deb.unlink()
    return path
