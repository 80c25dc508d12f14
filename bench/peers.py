"""Runs a peer's own tests with our drop-in classes in the place of its own: ``python -m bench.peers [NAME …]``.

Its sources are cloned into a temporary folder, at the version that is installed, or taken from ``--sources``; nothing
of them stays. A test counts as *delegated* where one of its calls went on to the peer's own method, as *refused* where
it failed. The table is printed and kept in results/peers/; the exit status is 1 where a test was refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A package whose tests are run.

    ``classes``: by name, the modules that hold each, the first of them the one that defines it. ``ours``: the module
    of the classes that take their places. ``tests``: files and folders of its sources.
    """

    package: str
    repository: str
    tag: str
    ours: str
    classes: dict[str, tuple[str, ...]]
    tests: tuple[str, ...]


def _captum(module: str) -> tuple[str, ...]:
    return f"captum.attr._core.{module}", "captum.attr"


PEERS = {
    "captum": Peer(
        package="captum",
        repository="https://github.com/pytorch/captum",
        tag="v{version}",
        ours="rambit.compat.captum",
        classes={
            "FeatureAblation": _captum("feature_ablation"),
            "Occlusion": _captum("occlusion"),
            "FeaturePermutation": _captum("feature_permutation"),
            "ShapleyValueSampling": _captum("shapley_value"),
            "ShapleyValues": _captum("shapley_value"),
            "KernelShap": _captum("kernel_shap"),
            "Lime": _captum("lime"),
        },
        tests=(
            *(f"tests/attr/test_{name}.py" for name in ("feature_ablation", "occlusion", "feature_permutation")),
            *(f"tests/attr/test_{name}.py" for name in ("shapley", "kernel_shap", "lime", "targets", "jit")),
            *(f"tests/attr/test_{name}.py" for name in ("dataloader_attr", "input_layer_wrapper")),
        ),
    ),
    "time_interpret": Peer(
        package="time_interpret",
        repository="https://github.com/josephenguehard/time_interpret",
        tag="v{version}",
        ours="rambit.compat.tint",
        classes={"TimeForwardTunnel": ("tint.attr.time_forward_tunnel", "tint.attr")},
        tests=("tests/attr/test_time_forward_tunnel.py",),
    ),
}


def run(peer: Peer, sources: Path, name: str) -> dict[str, Any]:
    """What the plugin saw (bench/peer_plugin.py). The tests read the installed package, not their sources' own."""
    with tempfile.TemporaryDirectory() as folder:
        # Alone, so that neither the peer's own package beside its tests is imported, nor tests of ours.
        shutil.copytree(sources / "tests", Path(folder) / "tests")
        record = Path(folder) / "record.json"
        given = {"RAMBIT_PEER": name, "RAMBIT_PEER_RECORD": str(record)}
        given["PYTHONPATH"] = os.pathsep.join((str(HERE.parent), os.environ.get("PYTHONPATH", "")))
        options = ["-q", "-p", "bench.peer_plugin", "-p", "no:cacheprovider", "--import-mode=importlib"]
        options += ["-c", os.devnull, "--rootdir", folder, "-W", "ignore", "--tb=short"]
        command = [sys.executable, "-m", "pytest", *options, *peer.tests]
        subprocess.run(command, cwd=folder, env={**os.environ, **given}, check=False)
        if not record.exists():
            raise SystemExit(f"{name}: pytest did not get to run the tests")
        return dict(json.loads(record.read_text(encoding="utf-8")))


def summary(peer: Peer, record: dict[str, Any]) -> dict[str, Any]:
    """How many tests of each class were passed, delegated and refused, and calls; what failed, and why others went."""
    rows: dict[str, Counter[str]] = {name: Counter() for name in peer.classes}
    refused = {}
    for test, seen in record["tests"].items():
        if seen["outcome"] == "failed":
            refused[test] = seen["why"]
        for name, calls in seen["calls"].items():
            passed_on = seen["delegated"].get(name, 0)
            outcome = {"failed": "refused", "skipped": "skipped"}.get(seen["outcome"])
            rows[name][outcome or ("delegated" if passed_on else "passed")] += 1
            rows[name] += Counter(calls=calls, calls_delegated=passed_on)
    return {"classes": rows, "refused": refused, "reasons": record["reasons"], "tests": len(record["tests"])}


def table(found: dict[str, Any]) -> list[str]:
    """The summary in lines."""
    columns = ("passed", "delegated", "refused", "calls", "calls_delegated")
    lines = [f"{'':24}" + "".join(f"{column.replace('_', ' '):>17}" for column in columns)]
    for name, row in found["classes"].items():
        lines.append(f"{name:24}" + "".join(f"{row.get(column, 0):>17}" for column in columns))
    lines += [f"{count:>6} x {reason}" for reason, count in sorted(found["reasons"].items(), key=lambda r: -r[1])]
    return [*lines, *(f"refused: {test}" for test in found["refused"])]


def fetch(peer: Peer, tag: str, folder: str) -> Path:
    """The sources of a tag in a folder."""
    command = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, peer.repository, folder]
    subprocess.run(command, check=True)
    return Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"peers: {', '.join(PEERS)} (default: all)")
    parser.add_argument("--sources", type=Path, help="a clone of the one peer's repository; it is not fetched then")
    args = parser.parse_args()
    names = args.names or list(PEERS)
    if unknown := sorted(set(names) - set(PEERS)):
        parser.error(f"NAME must be one of {', '.join(PEERS)}, got {', '.join(unknown)}")
    if args.sources is not None and len(names) > 1:
        parser.error("--sources is for one NAME")
    status = 0
    for name in names:
        peer = PEERS[name]
        installed = version(peer.package)
        with tempfile.TemporaryDirectory() as folder:
            sources = args.sources or fetch(peer, peer.tag.format(version=installed), folder)
            found = {"package": peer.package, "version": installed, **summary(peer, run(peer, sources.resolve(), name))}
        print(f"{name} {installed}, {found['tests']} tests", *table(found), sep="\n")
        kept = HERE / "results" / "peers" / f"{name}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        status |= bool(found["refused"])
    return status


if __name__ == "__main__":
    sys.exit(main())
