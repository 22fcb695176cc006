"""Signatures against the example of Standard Webhooks 1.0.0."""

from __future__ import annotations

import base64

from cloud.webhooks.signing import headers_of

# Its reference libraries are tested with this one (secret, id, timestamp, body, signature).
KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
BODY = b'{"test": 2432232314}'


def test_the_example_of_the_standard() -> None:
    assert headers_of(KEY, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, BODY) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
