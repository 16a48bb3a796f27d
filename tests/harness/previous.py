"""The programs of the version before this one, built from the repository's own
history into build/previous/COMMIT, once.

Which version that is: the last tag v* before this commit; while there is none, the
commit that tests/fault/upgrade_from names; KAE_UPGRADE_FROM overrules both.
"""
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMED = ROOT / "tests" / "fault" / "upgrade_from"
BUILD_S = 1800


class NoHistory(Exception):
    """Why there is nothing to build from."""


def git(*words):
    try:
        done = subprocess.run(["git", "-c", "safe.directory=*", "-C", str(ROOT), *words],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise NoHistory("git is not installed") from None
    if done.returncode:
        raise NoHistory(done.stderr.decode(errors="replace").strip())
    return done.stdout


def last_tag():
    try:
        return git("describe", "--tags", "--abbrev=0", "--match=v*", "HEAD^").decode().strip()
    except NoHistory:
        return None


def named():
    lines = (line.split("#")[0].strip() for line in NAMED.read_text().splitlines())
    return os.environ.get("KAE_UPGRADE_FROM") or last_tag() or next(l for l in lines if l)


def commit():
    """The full name of the earlier version; NoHistory where it cannot be had."""
    name = named()
    try:
        return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except NoHistory:
        raise NoHistory(f"no commit {name} here: a copy without the history") from None


def compiler():
    cc = os.environ.get("CC", "cc")
    return f"ccache {cc}" if shutil.which("ccache") and "ccache" not in cc else cc


def programs():
    """The folder of the earlier version's programs."""
    name = commit()
    folder = ROOT / "build" / "previous" / name[:12]
    done = folder / "built"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(folder)], input=git("archive", name), check=True)
        # It may want what this one has no use for.
        subprocess.run(["deploy/deps.sh", "build"], cwd=folder, check=True)
        # WERROR=: a newer compiler may warn of what nobody can change any more.
        built = subprocess.run(
            ["make", "-s", "-j2", f"CC={compiler()}", "BUILD=build", "FLAVOR=release",
             "WERROR=", "all"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=BUILD_S,
            env={k: v for k, v in os.environ.items() if not k.startswith("MAKE")})
        if built.returncode:
            raise AssertionError(built.stdout.decode(errors="replace")[-8000:])
        done.touch()
    return folder / "build" / "release" / "bin"
