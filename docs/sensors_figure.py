"""Draws README's figure, docs/_static/sensors.png: the last one of notebooks/sensors.md."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image

HERE = Path(__file__).parent


def main() -> None:
    """Run the notebook's cells and save what the last one draws."""
    matplotlib.use("Agg")
    text = (HERE / "notebooks/sensors.md").read_text(encoding="utf-8")
    scope: dict[str, Any] = {}
    exec("\n".join(re.findall(r"```\{code-cell\} python\n(.*?)```", text, re.DOTALL)), scope)
    drawn = io.BytesIO()
    scope["figure"].savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(256).save(HERE / "_static/sensors.png", optimize=True)  # half the bytes


if __name__ == "__main__":
    main()
