"""What all tests share: what a missing component means, and how many examples hypothesis draws."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# A slow first draw says something of the machine, not of the test: it is no fault on a busy one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("default"), max_examples=10, stateful_step_count=15)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """Path of a program that a test cannot do without: missing is a skip here and a failure in CI."""

    def find(program: str) -> str:
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if path is None:
            text = f"{program} is not installed: scripts/test installs it as root, or prints the line to run"
            if IN_CI:
                pytest.fail(text)
            pytest.skip(text)
        return path

    return find
