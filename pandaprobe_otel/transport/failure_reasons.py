"""Reasons for a missing answer, in words for the user."""

from __future__ import annotations

import os


def describe(error: BaseException) -> str:
    """Return the error as text, with the variable to check if a certificate is the cause."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    hint = _about_certificates(error, said)
    return f"{said}; {hint}" if hint else said


def _about_certificates(error: BaseException, said: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "SSL_CERT_FILE may name a file with the certificate of your own authority"
    # OpenSSL names neither the missing file nor the one without a certificate.
    file = os.environ.get("SSL_CERT_FILE")
    if file and (isinstance(error, FileNotFoundError) or "NO_CERTIFICATE_OR_CRL_FOUND" in said):
        return f"SSL_CERT_FILE={file}"
    return ""
