"""Why no answer came, in the words that the user reads."""

from __future__ import annotations

import os


def describe(error: BaseException) -> str:
    """The error, and which variable decides where a certificate is the matter."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    hint = _about_certificates(error, said)
    return f"{said}; {hint}" if hint else said


def _about_certificates(error: BaseException, said: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "SSL_CERT_FILE may name a file with the certificate of your own authority"
    # OpenSSL says neither which file is missing nor which one holds no certificate.
    file = os.environ.get("SSL_CERT_FILE")
    if file and (isinstance(error, FileNotFoundError) or "NO_CERTIFICATE_OR_CRL_FOUND" in said):
        return f"SSL_CERT_FILE={file}"
    return ""
