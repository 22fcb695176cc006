"""MQTT: the words that files use for it. The driver itself is in `listener.py`.

A profile gives the topic with placeholders (`bins/{serial}/up`), a site file fills them in; `+` and `#` mean what they
mean in MQTT. Each point is a JMESPath expression into the JSON of a publish, or into the one plain text that it is.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from drivers.coded import Choice, Coded
from drivers.contract import RECENT
from drivers.scaling import IDENTITY
from drivers.texts import Encoding

PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
VALUE: Final = "$value"
Word = Annotated[
    str, Meta(max_length=200, description="what stands for the placeholder of this name in topics and commands")
]


class Line(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of a line: one broker, and the node's session there."""

    host: Annotated[str, Meta(min_length=1, description="name or address of the broker")]
    client_id: Annotated[
        str, Meta(min_length=1, max_length=64, description="name of the node's session; must be its own at that broker")
    ]
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None, Meta(description="TCP port; 1883, or 8883 with TLS")
    ] = None
    username: Annotated[str, Meta(description="user name, where the broker wants one")] = ""
    password: Annotated[str, Meta(description="password; better kept in a file of its own")] = ""
    password_file: Annotated[str, Meta(description="file that holds the password")] = ""
    tls: Annotated[bool, Meta(description="whether to speak TLS; also on when ca or cert is given")] = False
    ca: Annotated[str, Meta(description="file with the CA that signed the broker's certificate (PEM)")] = ""
    cert: Annotated[str, Meta(description="file with the node's own certificate (PEM)")] = ""
    key: Annotated[str, Meta(description="file with the key of that certificate (PEM)")] = ""
    keepalive_s: Annotated[int, Meta(ge=5, le=3600, description="silence after which the broker is asked")] = 30
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="how long the broker may take to answer")] = 10.0
    session_expiry_s: Annotated[
        int, Meta(ge=0, le=4_294_967_295, description="how long the broker keeps the session while the node is away")
    ] = 7 * 86_400
    receive_maximum: Annotated[
        int, Meta(ge=1, le=RECENT, description="publishes that may wait for the node's commit, unacknowledged")
    ] = 1024
    max_payload_bytes: Annotated[
        int,
        Meta(ge=64, le=1 << 20, description="a larger publish is a bad reading, up to 1 MiB; beyond, it is not sent"),
    ] = 65536

    def __post_init__(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key go together: write both or neither")
        if self.password and self.password_file:
            raise ValueError("write password or password_file, not both")

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls or bool(self.ca or self.cert)


class Address(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The address of one device: a word for each placeholder that its profile's topic has."""

    serial: Word = ""
    name: Word = ""
    dev_eui: Word = ""
    id: Word = ""
    channel: Word = ""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            if set(getattr(self, field)) & set("+#\0") or getattr(self, field).startswith(("/", "$")):
                raise ValueError(f"{field} must not contain + or #, nor begin with / or $")

    def filled(self, template: str) -> str:
        """A topic with its placeholders filled in."""
        return PLACEHOLDER.sub(lambda m: getattr(self, m[1]), template)


class Whole(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `[mqtt]` in a profile."""

    topic: Annotated[str, Meta(min_length=1, description="where the device publishes, such as bins/{serial}/up")]
    packet_id: Annotated[
        str,
        Meta(
            description="JMESPath of a counter or id of each publish; "
            "the same one with the same values and time is a repeat"
        ),
    ] = ""
    repeat_s: Annotated[
        float,
        Meta(
            ge=0, le=3600, description="for how long the same packet_id and values are a repeat, where there is no time"
        ),
    ] = 5
    reception: Annotated[
        tuple[str, ...],
        Meta(description="points that tell how a publish was received, such as rssi; no part of what makes a repeat"),
    ] = ()
    time: Annotated[
        str, Meta(description="JMESPath of the time of measuring: ISO 8601 text, or a number counted from 1970")
    ] = ""
    time_zone: Annotated[
        str, Meta(description='IANA name of the zone of times without one, such as "UTC"; left out: the site\'s')
    ] = ""
    payload: Annotated[
        Literal["json", "text"],
        Meta(description="what a publish is: JSON, or one plain text, which is @ in expressions"),
    ] = "json"
    encoding: Annotated[Encoding, Meta(description="how the bytes of its texts are to be read, and written")] = "utf-8"
    command_topic: Annotated[str, Meta(description="where the device takes commands, such as lamps/{serial}/set")] = ""
    command_payload: Annotated[
        Literal["json", "text"] | None, Meta(description="what a command is; left out: the same as payload")
    ] = None

    @property
    def commands_in(self) -> Literal["json", "text"]:
        """What a command is."""
        return self.command_payload or self.payload


class Access(Coded, kw_only=True, frozen=True):
    """The keys of `at` for a point."""

    value: Annotated[str, Meta(min_length=1, description="JMESPath of the value, such as climate.temp")]
    scale: Annotated[float, Meta(description="what one step of the number is worth")] = 1
    choices: Annotated[
        dict[str, Choice] | None, Meta(description='what each value means, such as {0 = "low", 1 = "ok"}')
    ] = None
    as_: Annotated[
        Literal["int", "float"] | None,
        Meta(description="numbers in commands: whole ones or any; left out: whole where a scale is below 1"),
    ] = msgspec.field(default=None, name="as")
    command: Annotated[
        str, Meta(description="JSON or text that sets the point, with $value where the value goes; for writable points")
    ] = ""
    command_topic: Annotated[str, Meta(description="where to, if not to the model's command_topic")] = ""

    def __post_init__(self) -> None:
        self.check_field(64)
        scaled = self.scaling != IDENTITY  # asked in any case: it says what is wrong with scale and offset
        if self.choices is not None and scaled:
            raise ValueError("choices and scale do not go together")

    @property
    def whole(self) -> bool:
        """Whether a command has whole numbers: a device that counts in parts of the unit counts whole ones."""
        return self.as_ == "int" or (self.as_ is None and abs(self.scale) < 1)

    @property
    def step(self) -> float:
        """What one step of the raw number is worth, where only whole ones are written; else 0."""
        return abs(self.scale) if self.whole and self.choices is None else 0.0
