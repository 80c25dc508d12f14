"""The name under which a machine's figures are kept: its GPU, or its CPU and how many cores it has."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch


def machine() -> str:
    """For example ``amd-epyc-9b14-2``."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        info = Path("/proc/cpuinfo")
        models = re.findall(r"model name\s*:\s*(.*)", info.read_text()) if info.exists() else []
        name = f"{models[0] if models else platform.machine()} {os.cpu_count()}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    print(machine())
