"""What drives the rows: C programs compiled as they are needed, and scripts that run as processes of their own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.stand import Absent, BenchError

HERE = Path(__file__).parent


def compiled(name: str, into: Path, *libraries: str, package: str = "") -> Path:
    """The program of `NAME.c`. `package` is the Debian package with the header of its libraries.

    Raises:
        Absent: there is no compiler or no such header. BenchError: it does not compile.
    """
    if shutil.which("gcc") is None:
        raise Absent("no C compiler: sudo apt-get install -y gcc libc6-dev")
    program = into / name
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, HERE / f"{name}.c"]
    done = subprocess.run([*command, *(f"-l{x}" for x in libraries)], capture_output=True, text=True, check=False)
    if "No such file" in done.stderr and package:
        raise Absent(f"{name}.c needs a header that is not here: sudo apt-get install -y {package}")
    if done.returncode:
        raise BenchError(f"{name}.c does not compile:\n{done.stderr}")
    return program
