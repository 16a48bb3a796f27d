"""Certificates of our own, made with openssl."""
import subprocess

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(*command):
    return subprocess.run(["openssl", *map(str, command)], check=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def make_ca(folder, name):
    openssl("req", "-x509", *EC, "-nodes", "-days", 2, "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
    return folder / f"{name}.crt"


def make_certificate(folder, ca, hosts, name="server", days=2, key=EC):
    """name.key and name.crt for the hosts, such as "DNS:localhost"; with 0 days
    it has expired (openssl 3.5 makes none that ended before it began)."""
    openssl("req", "-new", *key, "-nodes", "-subj", f"/CN={name}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
    (folder / "hosts").write_text(f"subjectAltName={hosts}\nauthorityKeyIdentifier=keyid\n")
    openssl("x509", "-req", "-in", folder / f"{name}.csr", "-days", days,
            "-CA", ca, "-CAkey", ca.with_suffix(".key"), "-CAcreateserial",
            "-extfile", folder / "hosts", "-out", folder / f"{name}.crt")
    return folder / f"{name}.crt"


def serial_of(certificate):
    """As the log has it: hex, lower case."""
    return openssl("x509", "-in", certificate, "-noout", "-serial").strip() \
        .partition("=")[2].lower()
