"""What can go wrong between a driver and its devices, named by what the caller does next.

DriverError
├── Unreachable    no answer in time: a bad reading now, retry with back-off
├── Refused        the device answered and said no: a bad reading, go on with the next
└── Misconfigured  it can never work like this: stop that device and tell someone
"""

from __future__ import annotations


class DriverError(Exception):
    """The text says what happened in words that a technician can act on."""


class Unreachable(DriverError):
    """No answer, or none that is whole. Worth another try later."""


class Refused(DriverError):
    """The device understood and declined."""


class Misconfigured(DriverError):
    """The site file and the device do not fit; no retry will help."""


class NotStored(Exception):
    """Raised to a driver by `deliver`: the node could not keep the samples, so the sender must keep them."""
