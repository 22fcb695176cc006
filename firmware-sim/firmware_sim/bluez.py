"""The objects that `org.bluez` shows on the bus, and the standard calls about them.

Promises: what `GetManagedObjects` tells and what the signals told is the same at any moment. Handled on raw
messages, because whose call it is (a scanner that dies takes its scan with it) and when exactly an answer has
left matter here, and the service classes of the library hide both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from dbus_fast import ErrorType, Message, MessageType, Variant
from dbus_fast.aio.message_bus import MessageBus

NAME = "org.bluez"
ADAPTER = "org.bluez.Adapter1"
MONITORS = "org.bluez.AdvertisementMonitorManager1"
MONITOR = "org.bluez.AdvertisementMonitor1"
DEVICE = "org.bluez.Device1"
SERVICE = "org.bluez.GattService1"
CHARACTERISTIC = "org.bluez.GattCharacteristic1"
OBJECTS = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
Interfaces = dict[str, dict[str, Variant]]


class Refused(Exception):
    """A call is answered with this error."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


class Objects:
    """The tree below `/org/bluez`."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._tree: dict[str, Interfaces] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._tree

    def add(self, path: str, interfaces: Interfaces) -> None:
        """Show an object."""
        self._tree[path] = interfaces
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, path: str) -> None:
        """Take an object away."""
        interfaces = self._tree.pop(path, None)
        if interfaces is not None:
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, list(interfaces)])

    def change(self, path: str, interface: str, properties: Mapping[str, Variant]) -> None:
        """Change properties and tell it."""
        self._tree[path][interface].update(properties)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, dict(properties), []])

    def answer(self, call: Message) -> Message | None:
        """The answer to one of the standard calls; None if it is none of them."""
        body = cast("list[str]", call.body)
        if call.interface == OBJECTS and call.member == "GetManagedObjects":
            return Message.new_method_return(call, "a{oa{sa{sv}}}", [self._tree])
        if call.interface == "org.freedesktop.DBus.Peer" and call.member == "Ping":
            return Message.new_method_return(call)
        if call.interface != PROPERTIES or call.member not in {"Get", "GetAll", "Set"}:
            return None
        properties = self._tree.get(call.path or "", {}).get(body[0])
        if properties is None:
            raise Refused(ErrorType.UNKNOWN_OBJECT.value, f"there is no {body[0]} at {call.path}")
        if call.member == "GetAll":
            return Message.new_method_return(call, "a{sv}", [properties])
        if call.member == "Get" and body[1] in properties:
            return Message.new_method_return(call, "v", [properties[body[1]]])
        raise Refused(ErrorType.PROPERTY_READ_ONLY.value, f"{body[1]} cannot be had or set like this")

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[object]) -> None:
        post(self._bus, Message.new_signal(path, interface, member, signature, body))


def post(bus: MessageBus, message: Message) -> asyncio.Future[object]:
    """Send a message; the future is done when it has left."""
    # The library does not say what its future holds.
    return cast("asyncio.Future[object]", cast("Any", bus).send(message))


def error(call: Message, refused: Refused) -> Message:
    """The answer that says no."""
    return Message.new_error(call, refused.name, refused.text)


def is_call(message: Message) -> bool:
    """Whether a message asks us for something."""
    return message.message_type is MessageType.METHOD_CALL
