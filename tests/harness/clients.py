"""People at work, each a thread that does the same over and over until it is told to
stop, and remembers what went wrong.

A client sends each request with an Idempotency-Key of its own and, if it fails,
once more with the same one after the time that Retry-After tells it:
`first` are those that failed once, `lost` those that failed twice.
"""
import collections
import http.client
import threading
import uuid

from tests.integration.stack import Api

RETRY_S = 1     # where no Retry-After is told
RETRY_MAX_S = 5
PAUSE_S = 0.01  # between two rounds: two cores do all of this


class Ended(Exception):
    """It was lost, or it is over: the round cannot go on."""


class Client(threading.Thread):
    """round() is the subclass's; it asks with ask()."""

    def __init__(self, port, token=None, key=None):
        super().__init__(name=type(self).__name__)
        self.api = Api(port, token=token, key=key)
        self.ending = threading.Event()
        self.answered = collections.Counter()  # by method and path
        self.first, self.lost, self.wrong = [], [], []
        self.rounds = 0

    def once(self, api, method, path, body, head, want):
        """(answer, None), or (None, why) and the seconds to wait."""
        try:
            answer = api.ask(method, path, body=body, headers=head)
        except (OSError, http.client.HTTPException) as why:
            return None, f"{method} {path}: {why!r}", RETRY_S
        if answer.status in want:
            return answer, None, 0
        told = answer.headers.get("retry-after", RETRY_S)
        return None, f"{method} {path}: {answer.status} {answer.raw[:300]!r}", float(told)

    def ask(self, method, path, body=None, want=(200,), api=None, key=None):
        """The answer, after one repeat if need be."""
        head = {"Idempotency-Key": key or str(uuid.uuid4())} if method != "GET" else {}
        for failures in (self.first, self.lost):
            answer, why, pause_s = self.once(api or self.api, method, path, body, head, want)
            if answer:
                self.answered[f"{method} {path}"] += 1
                return answer
            failures.append(why)
            self.ending.wait(min(pause_s, RETRY_MAX_S))
        raise Ended

    def claim(self, what, is_true):
        """What must be so, whatever happens: a failure of the product's."""
        if not is_true:
            self.wrong.append(what)

    def round(self):
        raise NotImplementedError

    def run(self):
        while not self.ending.wait(PAUSE_S):
            try:
                self.round()
                self.rounds += 1
            except Ended:
                pass
            except Exception as why:  # an answer of another form than it should have
                self.wrong.append(f"{self.name}: {why!r}")
        self.api.close()


class Crowd:
    """Clients that run for the length of the block."""

    def __init__(self, clients):
        self.clients = clients

    def __enter__(self):
        for c in self.clients:
            c.start()
        return self

    def __exit__(self, *_):
        for c in self.clients:
            c.ending.set()
        for c in self.clients:
            c.join(120)

    def rounds(self):
        return [c.rounds for c in self.clients]

    def all_said(self, member):
        return [f"{c.name}: {why}" for c in self.clients for why in getattr(c, member)]
