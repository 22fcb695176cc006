"""Signing: by what a webhook's other end knows that a request is ours, and unchanged (Standard Webhooks 1.0.0).

Pure but for HMAC-SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping


def headers_of(key: bytes, message: str, time_s: int, body: bytes) -> Mapping[str, str]:
    """`webhook-id` is the same whenever the same events are sent; `time_s`, since 1970, is that of this attempt."""
    signed = f"{message}.{time_s}.".encode() + body
    digest = hmac.digest(key, signed, hashlib.sha256)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(time_s),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
