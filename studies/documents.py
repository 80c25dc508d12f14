"""What suffices of nested documents, where the truth is known: the fields by which botocore's operations are paginated.

A model that `rambit suffice --json botocore` has trained answers for services that it never saw. Of operations that it
rightly calls paginated, a sufficient part is found with each heuristic, and one counts as found if the part holds the
name of a field that the service's paginator uses. `make documents` runs this, ``python -m studies.documents``; the
figures depend on botocore's version.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

from rambit.cli.suffice.documents import TRAIN_FRACTION
from rambit.datasets.botocore import Documents, KeyField, botocore_operations
from rambit.metrics import auroc
from rambit.structure import HierarchicalClassifier, Sample, from_json, load_model, places, predict
from rambit.sufficiency import explain
from studies import RESULTS

MODEL = Path("build/documents/operations.safetensors")
HEURISTICS = ("banzhaf", "grad", "random")
SEARCH: Final = "flat_harr"
EXPLAINED = 300
BATCH = 25  # documents in a search


def main() -> None:
    """Train the model unless it is there; explain with each heuristic, write the table and print it."""
    train, test = botocore_operations().split(TRAIN_FRACTION)
    model = trained_model(MODEL)
    sample = from_json(test.documents, model.schema)
    paginated = predict(model, sample)[:, 1].numpy()
    right = [i for i in range(len(test)) if test.y[i] == 1 and paginated[i] > 0.5 and test.keys[i]]
    order = torch.randperm(len(right), generator=torch.Generator().manual_seed(0))
    chosen = [right[i] for i in order[:EXPLAINED].tolist()]
    rows = [measure(model, sample, test, chosen, heuristic) for heuristic in HEURISTICS]
    head = (
        f"botocore {version('botocore')}: {len(train):,} operations of {len(set(train.services))} services to train "
        f"on, {len(test):,} of {len(set(test.services))} others to test on\n"
        f"AUROC of `paginated` on the others: {auroc(paginated[:, None], test.y[:, None]):.4f}\n"
        f"explained: {len(chosen)} of {len(right):,} operations that are rightly called paginated; search {SEARCH}\n"
    )
    write(RESULTS / "documents", head, rows)


def trained_model(path: Path) -> HierarchicalClassifier:
    """The model that the command trains where there is none. Raises CalledProcessError if it fails."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = ("suffice", "botocore", "--json", "--model", str(path), "--limit", "1")
        subprocess.run([sys.executable, "-m", "rambit.cli", *command], stdout=subprocess.DEVNULL, check=True)
    return load_model(path)


def measure(
    model: HierarchicalClassifier, sample: Sample, test: Documents, chosen: list[int], heuristic: str
) -> dict[str, Any]:
    """One line of the table."""
    hits, shares, sizes, rows, started = 0, [], [], 0, time.perf_counter()
    for begin in range(0, len(chosen), BATCH):
        numbers = chosen[begin : begin + BATCH]
        batch = sample.take(torch.tensor(numbers))
        where, terms = places(batch), torch.bincount(batch.output_id).tolist()
        found = explain(model, batch, heuristic=heuristic, search=SEARCH, seed=begin)
        assert isinstance(found, list)
        for number, one, count in zip(numbers, found, terms, strict=True):
            kept = {where[term] for term in one.mask.nonzero()[:, 0].tolist()}
            hits += any(holds(kept, field) for field in test.keys[number])
            shares.append(one.size / count)
            sizes.append(one.size)
            rows += one.rows
    return {
        "heuristic": heuristic,
        "operations": len(chosen),
        "key_kept": hits,
        "share_kept": statistics.median(shares),
        "terms_kept": statistics.median(sizes),
        "rows": rows,
        "seconds": round(time.perf_counter() - started, 2),
    }


def holds(kept: set[tuple[str | int, ...]], field: KeyField) -> bool:
    """Whether the field's name is among the kept places."""
    return (*field.place, "name") in kept


def write(folder: Path, head: str, rows: list[dict[str, Any]]) -> None:
    """documents.csv and documents.txt, and the latter on the terminal."""
    with (folder / "documents.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    lines = [f"{'heuristic':10}{'key field kept':>16}{'share kept':>12}{'terms kept':>12}{'rows':>12}{'seconds':>9}"]
    for row in rows:
        key = f"{row['key_kept']} of {row['operations']}"
        lines.append(
            f"{row['heuristic']:10}{key:>16}{row['share_kept']:>12.3f}{row['terms_kept']:>12g}"
            f"{row['rows']:>12,}{row['seconds']:>9.1f}"
        )
    text = head + "\n".join(lines) + "\nShare and terms kept: medians over operations. Rows: outputs of the model.\n"
    (folder / "documents.txt").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
