"""Makes calls of a running program fail, from a test; see control.h."""
import mmap
import os
import pathlib
import struct

CLASSES = ("none", "memory", "receive", "send", "open", "file", "thread")


class Faults:
    """The control of one program: env() goes into its environment."""

    SIZE = 40
    ARMED, LASTS, COUNTDOWN, DELIVERED, MAPPED = 0, 4, 8, 16, 24

    def __init__(self, path, library=None):
        self.path, self.library = pathlib.Path(path), library
        # Never one that a program may have mapped: cut short under it, it would
        # die of SIGBUS.
        self.file = open(self.path, "x+b")
        self.file.write(bytes(self.SIZE))
        self.file.flush()
        self.path.chmod(0o666)
        self.map = mmap.mmap(self.file.fileno(), self.SIZE)

    def env(self):
        env = {"KAE_FAULT_CONTROL": str(self.path)}
        if self.library:
            env["LD_PRELOAD"] = str(self.library)
        return env

    def _put(self, form, at, value):
        struct.pack_into(form, self.map, at, value)

    def _get(self, form, at):
        return struct.unpack_from(form, self.map, at)[0]

    @property
    def listened_to(self):
        return self._get("Q", self.MAPPED) == 1

    def arm(self, what, nth, lasts=False):
        """The nth call from now on fails, and those after it if it lasts."""
        self.disarm()
        self._put("Q", self.DELIVERED, 0)
        self._put("q", self.COUNTDOWN, nth)
        self._put("i", self.LASTS, int(lasts))
        self._put("i", self.ARMED, CLASSES.index(what))

    def disarm(self):
        """How many calls have failed."""
        self._put("i", self.ARMED, 0)
        return self._get("Q", self.DELIVERED)

    def close(self):
        self.map.close()
        self.file.close()

