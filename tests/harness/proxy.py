"""A TCP proxy on loopback that misbehaves on demand.

    with Proxy(upstream_port) as proxy:
        connect("127.0.0.1", proxy.port)    # passes everything on
        proxy.fault(down=Freeze())          # answers stop, requests go on
        proxy.fault(up=Delay(0.2), down=Drip(1, 0.01))
        proxy.mend()                        # and what was held back flows on
        proxy.reset()                       # RST to everybody
        proxy.refuse()                      # nobody listens, until mend()
        proxy.silence()                     # as a cable that is pulled

up is what the client says, down what the server says; both at once by
fault_both(). A fault holds for connections that are there and for new ones,
until fault() or mend() says otherwise; each call returns when it is in force.

Freeze keeps the kernel acknowledging: the peer is alive and says nothing.
silence() lets no packet of the client in, not even the first of a connection
or an acknowledgement, so that the client's kernel must notice (TCP user
timeout, keepalives). A filter on our sockets does it: no rights are needed.

One thread runs all connections; methods may be called from any other.
"""
import asyncio
import ctypes
import dataclasses
import random
import socket
import struct
import threading
import typing

CHUNK = 65536
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


@dataclasses.dataclass(frozen=True)
class Pass:
    """Nothing is wrong."""


@dataclasses.dataclass(frozen=True)
class Freeze:
    """Nothing passes; it is kept for later."""


@dataclasses.dataclass(frozen=True)
class Swallow:
    """Nothing passes, and it is gone."""


@dataclasses.dataclass(frozen=True)
class Delay:
    """Everything comes late."""
    seconds: float


@dataclasses.dataclass(frozen=True)
class Drip:
    """A few bytes at a time."""
    size: int = 1
    every: float = 0.01


@dataclasses.dataclass(frozen=True)
class Garbage:
    """Other bytes, as many as there were."""
    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Cut:
    """Ends the connection once that many more bytes of it have passed."""
    after: int = 0
    reset: bool = False


@dataclasses.dataclass(frozen=True)
class Edit:
    """What fn(bytes, connection) makes of each chunk. None ends the connection;
    connection.answer(bytes) says something to the other direction's receiver."""
    fn: typing.Callable


class Link:
    """One connection of a client, and ours to the server."""

    def __init__(self, client, faults):
        self.client, self.server, self.faults = client, None, faults
        self.passed = {"up": 0, "down": 0}
        self.mark = {"up": 0, "down": 0}  # passed when the fault began
        self.task = None

    def answer(self, data):
        """From within Edit(): bytes to the client, as if the server said them."""
        self.client.setblocking(True)
        self.client.sendall(data)
        self.client.setblocking(False)

    def close(self, reset=False):
        for s in (self.client, self.server):
            if s is None:
                continue
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
            s.close()


def deafen(s):
    """Drops every packet that comes for the socket, before TCP sees it."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop_all))
    s.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def undeafen(s):
    try:
        s.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
    except FileNotFoundError:
        pass  # it had no filter


class Proxy:
    """Listens when made; stop() ends every connection."""

    def __init__(self, upstream, host="127.0.0.1", port=0):
        self.upstream = ("127.0.0.1", upstream) if isinstance(upstream, int) else upstream
        self.host, self.port = host, port
        self.faults = {"up": Pass(), "down": Pass()}
        self.accepted = 0
        self.links = set()
        self.listener = None
        self.deaf = False
        self.loop = asyncio.new_event_loop()
        self.changed = None
        self.thread = threading.Thread(target=self.loop.run_forever, name="proxy",
                                       daemon=True)
        self.thread.start()
        self._do(self._open)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    # --- what a test says ---------------------------------------------------

    def fault(self, up=Pass(), down=Pass()):
        self._do(self._set, up, down)

    def fault_both(self, fault):
        self.fault(fault, fault)

    def mend(self):
        """As if nothing had been: listens, hears and passes."""
        self._do(self._mend)

    def mend_new(self):
        """Whoever connects from now on is well; who is here keeps his fault, as
        behind a NAT that forgot him."""
        self._do(self._mend_new)

    def cut(self):
        """Ends every connection as a server that closes does."""
        self._do(self._end_all, False)

    def reset(self):
        """Ends every connection with RST."""
        self._do(self._end_all, True)

    def refuse(self, and_reset=True):
        """Nobody listens; connections that are there end, or stay."""
        self._do(self._refuse, and_reset)

    def silence(self):
        self._do(self._silence)

    def move(self, upstream):
        """New connections go to another server."""
        self.upstream = ("127.0.0.1", upstream) if isinstance(upstream, int) else upstream

    @property
    def open(self):
        """Connections there are now."""
        return len(self.links)

    def stop(self):
        if self.loop.is_closed():
            return
        self._do(self._refuse, True)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    # --- inside the loop's thread ----------------------------------------------

    def _do(self, fn, *args):
        async def call():
            result = fn(*args)
            return await result if asyncio.iscoroutine(result) else result
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(30)

    async def _open(self):
        if self.changed is None:
            self.changed = asyncio.Event()
        if self.listener is not None:
            return
        self.listener = socket.create_server((self.host, self.port), backlog=256)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.loop.add_reader(self.listener, self._accept, self.listener)

    def _set(self, up, down):
        self.faults = {"up": up, "down": down}
        for link in self.links:
            link.faults, link.mark = self.faults, dict(link.passed)
        # Who waits for a change waits for this one; the next gets a new event.
        self.changed.set()
        self.changed = asyncio.Event()

    async def _mend(self):
        await self._open()
        if self.deaf:
            self.deaf = False
            for s in (self.listener, *(link.client for link in self.links)):
                undeafen(s)
        self._set(Pass(), Pass())

    def _mend_new(self):
        self.faults = {"up": Pass(), "down": Pass()}

    def _silence(self):
        self.deaf = True
        for s in (self.listener, *(link.client for link in self.links)):
            if s is not None:
                deafen(s)
        self._set(Freeze(), Freeze())

    async def _refuse(self, and_reset):
        if self.listener is not None:
            self.loop.remove_reader(self.listener)
            self.listener.close()
            self.listener = None
        if and_reset:
            await self._end_all(True)

    async def _end_all(self, reset):
        links = list(self.links)
        await self._cancel([link.task for link in links])
        for link in links:
            link.close(reset)
            self.links.discard(link)

    @staticmethod
    async def _cancel(tasks):
        for t in tasks:
            t.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener):
        try:
            client, _ = listener.accept()
        except OSError:
            return  # it went away again
        client.setblocking(False)
        self.accepted += 1
        link = Link(client, self.faults)
        self.links.add(link)
        link.task = self.loop.create_task(self._serve(link))

    async def _serve(self, link):
        pumps = []
        try:
            link.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.server = socket.socket()
            link.server.setblocking(False)
            link.server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self.loop.sock_connect(link.server, self.upstream)
            pumps = [self.loop.create_task(self._pump(link, *way)) for way in (
                ("up", link.client, link.server), ("down", link.server, link.client))]
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            reset = any(t.exception() or t.result() for t in done)
        except asyncio.CancelledError:
            await self._cancel(pumps)
            raise  # who cancelled closes
        except OSError:
            reset = True
        await self._cancel(pumps)
        link.close(reset)
        self.links.discard(link)

    async def _pump(self, link, way, source, sink):
        """True when the connection shall end with RST."""
        while True:
            data = await self.loop.sock_recv(source, CHUNK)
            if not data:
                # The end passes as anything else does: not through a freeze.
                while isinstance(link.faults[way], (Freeze, Swallow)):
                    await self.changed.wait()
                return False
            end = await self._carry(link, way, sink, data)
            if end is not None:
                return end.reset

    async def _carry(self, link, way, sink, data):
        """None, or the Cut that ends the connection."""
        while isinstance(link.faults[way], Freeze):
            await self.changed.wait()
        fault = link.faults[way]
        end = None
        if isinstance(fault, Swallow):
            data = b""
        elif isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        elif isinstance(fault, Garbage):
            data = random.Random(fault.seed).randbytes(len(data))
        elif isinstance(fault, Edit):
            data = fault.fn(data, link)
            end = Cut() if data is None else None
        elif isinstance(fault, Cut):
            left = link.mark[way] + fault.after - link.passed[way]
            if len(data) >= left:
                data, end = data[:max(0, left)], fault
        elif isinstance(fault, Drip):
            await self._drip(link, way, sink, data)
            return None
        if data:
            link.passed[way] += len(data)
            await self.loop.sock_sendall(sink, data)
        return end

    async def _drip(self, link, way, sink, data):
        """Drops of one chunk, until the fault is another."""
        while data:
            fault = link.faults[way]
            if not isinstance(fault, Drip):
                await self._carry(link, way, sink, data)
                return
            drop, data = data[:fault.size], data[fault.size:]
            link.passed[way] += len(drop)
            await self.loop.sock_sendall(sink, drop)
            await asyncio.sleep(fault.every)
