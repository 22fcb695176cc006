"""A private certificate authority, made by openssl: for tests of whoever is to be trusted."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


class Authority:
    """A private certificate authority, made by openssl."""

    def __init__(self, directory: Path, openssl: str) -> None:
        directory.mkdir()
        self._directory, self._openssl = directory, openssl
        self.ca = directory / "ca.pem"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                  "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=City",
                  "-addext", "keyUsage=keyCertSign")  # fmt: skip

    def _run(self, *args: str) -> None:
        subprocess.run([self._openssl, *args], check=True, capture_output=True, cwd=self._directory)

    def issue(self, name: str, host: str, days: int = 2) -> Path:
        """A certificate and its key in one file; `days` below 0 makes one that has ended."""
        (self._directory / "ext").write_text(f"subjectAltName=DNS:{host}\n")
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                  "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")  # fmt: skip
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", str(days),
                  "-CAcreateserial", "-extfile", "ext", "-out", f"{name}.crt")  # fmt: skip
        pem = self._directory / f"{name}.pem"
        pem.write_bytes(b"".join((self._directory / f"{name}.{end}").read_bytes() for end in ("crt", "key")))
        return pem

    def context(self, pem: Path, *, ask: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        if ask:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context
