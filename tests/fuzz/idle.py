# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What a process that solves cases may do wrong, for the tests of the watch over it."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection
from typing import Any


def idle(connection: Connection, settings: dict[str, Any]) -> None:
    """Solve cases at once, but one, settings["bad"]: there do what settings["how"] says."""
    connection.send(("ready",))
    while (numbers := connection.recv()) is not None:
        connection.send(("start", {number: {"what": "idle", "detail": ""} for number in numbers}, 100 << 20))
        if settings["bad"] in numbers:
            misbehave(settings["how"])
        connection.send(("stop", 100 << 20))
        for number in numbers:
            connection.send(("outcome", {"number": number, "what": "idle", "outcome": "right"}))
        connection.send(("done", 100 << 20))


def misbehave(how: str) -> None:
    """Wait, compute, take memory, or die."""
    end = time.monotonic() + 60
    if how == "die":
        os._exit(7)
    held = bytearray(1 << 28) if how == "grow" else b""
    if held:
        held[::4096] = b"1" * len(held[::4096])
    while time.monotonic() < end:
        if how != "compute":
            time.sleep(0.1)
