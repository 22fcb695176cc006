"""The adapter `org.bluez` shows: discovery, advertisement monitors, and calls to the devices behind it.

Promises: every call gets exactly one answer, an error if need be; at most `MAX_CALLS` are worked on at once,
further ones are refused as `InProgress`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from dbus_fast import ErrorType, Message, MessageFlag, MessageType, RequestNameReply, Variant, unpack_variants
from dbus_fast.aio.message_bus import MessageBus

from firmware_sim import bluez
from firmware_sim.bluez import Refused
from firmware_sim.bus import BusError
from firmware_sim.gatt import Gatt, Probe
from firmware_sim.scanners import Pattern, Scanners

ADDRESS = "02:4C:50:00:00:01"
MAX_CALLS = 64
_DAEMON = "org.freedesktop.DBus"
_RULES = (
    f"type='signal',sender='{_DAEMON}',interface='{_DAEMON}',member='NameOwnerChanged'",
    f"type='signal',interface='{bluez.OBJECTS}'",
)


class Adapter:
    """One adapter and the calls about it."""

    def __init__(
        self,
        bus: MessageBus,
        root: str,
        objects: bluez.Objects,
        gatt: Gatt,
        *,
        probes: Mapping[str, Probe],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.scanners = Scanners()
        self._bus = bus
        self._root = root
        self._objects = objects
        self._gatt = gatt
        self._probes = probes
        self._tasks = tasks
        self._calls = 0

    async def open(self) -> None:
        """Appear on the bus."""
        self._bus.add_message_handler(self._handle)
        for rule in _RULES:
            call = Message(_DAEMON, "/org/freedesktop/DBus", _DAEMON, "AddMatch", signature="s", body=[rule])
            reply = await self._bus.call(call)
            if reply.message_type is MessageType.ERROR:
                message = f"the bus refuses the rule {rule}"
                raise BusError(message)
        if await self._bus.request_name(bluez.NAME) is not RequestNameReply.PRIMARY_OWNER:
            message = f"{bluez.NAME} is taken on this bus"
            raise BusError(message)
        self._objects.add("/org/bluez", {})
        self._objects.add(self._root, _adapter(self._root))

    def _handle(self, message: Message) -> Message | bool | None:
        if bluez.is_call(message):
            try:
                return self._answer(message)
            except Refused as refused:
                return bluez.error(message, refused)
        if message.message_type is MessageType.SIGNAL:
            self._notice(message)
        return None

    def _answer(self, call: Message) -> Message | bool | None:
        standard = self._objects.answer(call)
        if standard is not None:
            return standard
        path = call.path or ""
        if path == self._root and call.interface in {bluez.ADAPTER, bluez.MONITORS}:
            self._adapt(call)
            return Message.new_method_return(call)
        probe = self._probes.get(path.split("/service")[0])
        if path not in self._objects:
            raise Refused(ErrorType.UNKNOWN_OBJECT.value, f"there is no object {path}")
        if call.interface == bluez.DEVICE and call.member in {"Connect", "Disconnect"} and probe is None:
            # Beacons take no connection.
            raise Refused("org.bluez.Error.Failed", "Software caused connection abort")
        if probe is None or call.member not in {"Connect", "Disconnect", "ReadValue", "WriteValue"}:
            return None  # the library says UnknownMethod
        if call.member == "Disconnect":
            self._gatt.disconnect(probe)
            return Message.new_method_return(call)
        if self._calls >= MAX_CALLS:
            raise Refused("org.bluez.Error.InProgress", "Operation already in progress")
        self._calls += 1
        self._tasks.create_task(self._later(probe, call)).add_done_callback(self._called)
        return True

    async def _later(self, probe: Probe, call: Message) -> None:
        try:
            if call.member == "Connect":
                await self._gatt.connect(probe)
                await bluez.post(self._bus, Message.new_method_return(call))
            else:
                await self._gatt.call(probe, call)
        except Refused as refused:
            await bluez.post(self._bus, bluez.error(call, refused))

    def _called(self, _task: asyncio.Task[None]) -> None:
        self._calls -= 1

    def _adapt(self, call: Message) -> None:
        client, member = call.sender or "", call.member
        if member == "SetDiscoveryFilter":
            wanted = cast("dict[str, object]", unpack_variants(call.body[0]))
            uuids, weakest = cast("Sequence[str]", wanted.get("UUIDs", ())), cast("int", wanted.get("RSSI", -127))
            self.scanners.filter(client, uuids, weakest)
        elif member == "StartDiscovery":
            if not self.scanners.start(client):
                raise Refused("org.bluez.Error.InProgress", "Operation already in progress")
        elif member == "StopDiscovery":
            if not self.scanners.stop(client):
                raise Refused("org.bluez.Error.Failed", "No discovery started")
        elif member == "RegisterMonitor":
            if not self.scanners.register(client, cast("str", call.body[0])):
                raise Refused("org.bluez.Error.AlreadyExists", "Already Exists")
        elif member == "UnregisterMonitor":
            if not self.scanners.unregister(client, cast("str", call.body[0])):
                raise Refused("org.bluez.Error.DoesNotExist", "Does Not Exist")
        elif member == "RemoveDevice":
            path = cast("str", call.body[0])
            if path in self._probes:
                self._gatt.disconnect(self._probes[path])
            self._objects.remove(path)
        else:
            raise Refused(ErrorType.UNKNOWN_METHOD.value, f"{call.interface} has no {member} here")
        self._tell_discovering()

    def _tell_discovering(self) -> None:
        now = Variant("b", self.scanners.discovering)
        self._objects.change(self._root, bluez.ADAPTER, {"Discovering": now})

    def _notice(self, signal: Message) -> None:
        body = cast("list[str]", signal.body)
        if signal.member == "NameOwnerChanged":
            if body[1] and not body[2]:
                self.scanners.left(body[1])
                self._tell_discovering()
        elif signal.interface == bluez.OBJECTS and signal.sender and signal.sender != self._bus.unique_name:
            if signal.member == "InterfacesRemoved":
                self.scanners.unwatch(signal.sender, body[0])
            elif signal.member == "InterfacesAdded":
                self._monitor(signal.sender, body[0], cast("dict[str, dict[str, Variant]]", signal.body[1]))

    def _monitor(self, client: str, path: str, interfaces: dict[str, dict[str, Variant]]) -> None:
        shown = interfaces.get(bluez.MONITOR)
        if shown is None or "Patterns" not in shown:
            return
        raw = cast("list[tuple[int, int, bytes]]", shown["Patterns"].value)
        patterns: list[Pattern] = [(start, kind, bytes(content)) for start, kind, content in raw]
        if self.scanners.watch(client, path, patterns):
            flags = MessageFlag.NO_REPLY_EXPECTED
            bluez.post(self._bus, Message(client, path, bluez.MONITOR, "Activate", flags=flags))


def _adapter(root: str) -> bluez.Interfaces:
    name = root.rpartition("/")[2]
    return {
        bluez.ADAPTER: {
            "Address": Variant("s", ADDRESS),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", name),
            "Alias": Variant("s", name),
            "Powered": Variant("b", value=True),
            "Discovering": Variant("b", value=False),
            "Roles": Variant("as", ["central"]),
            "UUIDs": Variant("as", []),
        },
        bluez.MONITORS: {
            "SupportedMonitorTypes": Variant("as", ["or_patterns"]),
            "SupportedFeatures": Variant("as", []),
        },
    }
