"""What an authenticator app shows (RFC 6238)."""
import base64
import hashlib
import hmac
import struct
import time


def totp(secret, ahead=0):
    """The code of this step, or of the one behind it: both are good for a while."""
    key = base64.b32decode(secret)
    mac = hmac.new(key, struct.pack(">Q", int(time.time()) // 30 + ahead), hashlib.sha1).digest()
    at = mac[19] & 15
    return f"{(struct.unpack('>I', mac[at:at + 4])[0] & 0x7fffffff) % 1000000:06}"
