"""Errors by what the caller does next.

    StreetError            the street cannot go on: say why in one line and end
        MissingProgramError    children.py: a program is not installed
        BrokerError            broker.py: mosquitto does not come up, or dies too often
        BusError               bus.py, air.py: the private D-Bus does not come up, or is gone
    SceneError             scene.py: tell all problems of the file and do not begin
    Refused                bluez.py: answer the caller with this error and go on

Everything else is a bug of ours and comes out as a traceback.
"""

from __future__ import annotations


class StreetError(Exception):
    """The street cannot go on."""
