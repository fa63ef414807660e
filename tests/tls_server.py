"""A queue server that speaks TLS only, with certificates of a private authority, made anew each time."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import servers


@dataclass(frozen=True)
class Tls:
    """A queue server, and files: of its authority (`ca`), of another one (`stranger`), and of a `client`."""

    folder: Path
    port: int
    password: str

    def url(self, host: str = "127.0.0.1", **files: str) -> str:
        """Its address, with files by the name of their option."""
        options = "&".join(f"{option}={self.folder / name}" for option, name in files.items())
        return f"rediss://default:{self.password}@{host}:{self.port}/0" + (f"?{options}" if options else "")


@contextmanager
def tls_server(folder: Path) -> Iterator[Tls]:
    """Start one, for 127.0.0.1. It takes clients with and without a certificate.

    Raises:
        AssertionError: there is no valkey-server.
    """
    program = shutil.which("valkey-server")
    assert program, "the bundled redis-server has no TLS: install valkey-server, as .ci/run does"
    _authority(folder, "ca")
    _authority(folder, "stranger")
    _certificate(folder, "server", "IP:127.0.0.1")
    _certificate(folder, "client", "DNS:agent")
    found = Tls(folder, servers.free_port(), secrets.token_hex(8))
    command = [program, "--port", "0", "--tls-port", str(found.port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--tls-cert-file", "server.crt", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.crt"]
    command += ["--tls-auth-clients", "optional", "--requirepass", found.password, "--save", ""]
    # Names of its files are relative to --dir.
    with servers.process(command, folder / "valkey.log"):
        servers.wait_until(lambda: servers.answers(found.url(ssl_ca_certs="ca.crt")), "queue server")
        yield found


def _authority(folder: Path, name: str) -> None:
    make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    _openssl(folder, *make, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")


def _certificate(folder: Path, name: str, subject: str) -> None:
    ask = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
    _openssl(folder, *ask, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(f"subjectAltName={subject}\n")
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    _openssl(folder, *sign, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
