"""A question put to a port of this machine."""
import http.client


def get(port, path):
    """(status, text); (None, "") when nobody answers."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        c.request("GET", path)
        r = c.getresponse()
        return r.status, r.read().decode()
    except (OSError, http.client.HTTPException):
        return None, ""
    finally:
        c.close()
