"""One statement of SQL through libpq, in this process: to start psql takes thirty
times as long, and tests ask for what has happened again and again."""
import ctypes
import select
import time

OK, EMPTY, COMMAND, TUPLES = 0, 0, 1, 2  # of a connection; of a result


def library():
    """libpq with the types of what is called here."""
    lib = ctypes.CDLL("libpq.so.5")
    text, handle, number = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int
    for name, result, *arguments in (
            ("PQconnectdb", handle, text), ("PQfinish", None, handle),
            ("PQstatus", number, handle), ("PQsocket", number, handle),
            ("PQerrorMessage", text, handle), ("PQsendQuery", number, handle, text),
            ("PQconsumeInput", number, handle), ("PQisBusy", number, handle),
            ("PQgetResult", handle, handle), ("PQclear", None, handle),
            ("PQresultStatus", number, handle), ("PQresultErrorMessage", text, handle),
            ("PQntuples", number, handle), ("PQnfields", number, handle),
            ("PQgetvalue", text, handle, number, number)):
        fn = getattr(lib, name)
        fn.restype, fn.argtypes = result, arguments
    return lib


PQ = library()


def answers(connection, end):
    """Each result of what was sent, until the time that is given."""
    while True:
        while PQ.PQisBusy(connection):
            left = end - time.monotonic()
            if left <= 0 or not select.select([PQ.PQsocket(connection)], [], [], left)[0]:
                raise TimeoutError("no answer of PostgreSQL")
            if not PQ.PQconsumeInput(connection):
                raise RuntimeError(PQ.PQerrorMessage(connection).decode(errors="replace"))
        result = PQ.PQgetResult(connection)
        if not result:
            return
        try:
            if PQ.PQresultStatus(result) not in (EMPTY, COMMAND, TUPLES):
                raise RuntimeError(PQ.PQresultErrorMessage(result).decode(errors="replace"))
            yield [[PQ.PQgetvalue(result, row, n).decode(errors="replace")
                    for n in range(PQ.PQnfields(result))]
                   for row in range(PQ.PQntuples(result))]
        finally:
            PQ.PQclear(result)


class Connection:
    """For one thread."""

    def __init__(self, url, timeout=60):
        more = "&" if "?" in url else "?"
        self.timeout = timeout
        self.handle = PQ.PQconnectdb(f"{url}{more}connect_timeout={timeout}".encode())

    def rows(self, text):
        """What it answers, as lists of texts."""
        if PQ.PQstatus(self.handle) != OK or not PQ.PQsendQuery(self.handle, text.encode()):
            raise RuntimeError(PQ.PQerrorMessage(self.handle).decode(errors="replace"))
        end = time.monotonic() + self.timeout
        return [row for part in answers(self.handle, end) for row in part]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        PQ.PQfinish(self.handle)
