"""What README, documentation, help texts and docstrings say, where no test of a module says it already."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import random
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rambit import RaMbIT, compat, counterfactuals, masks, selection
from rambit.attribution import FO, Banzhaf, BiWinIT, ExactShapley, Occlusion, ShapleySampling, WinIT
from rambit.cli import COMMANDS, _parser, compare
from rambit.compare.methods import parse
from rambit.distributed import attribute_many
from rambit.metrics import truth
from rambit.models import GRUClassifier, LSTMClassifier, TCNClassifier, TransformerClassifier, build_model
from rambit.rex import ReX, SearchSettings
from rambit.rex.extraction.extraction_options import ExtractionOptions
from rambit.sufficiency import explain
from rambit.training import fit, load_checkpoint, save_checkpoint
from tests.random_state import numpy_state

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "bench/README.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
)
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="the sources are not here")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def listed(start):
    """What the page on methods lists, in code style, in the item that begins so."""
    item = re.search(rf"\* \*\*{start}\*\*.*?\n(?=\* |\n)", text_of("docs/methods.md"), flags=re.S)
    return re.findall(r"`(\w+)`", item[0])


# -- what documents name is there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS)
def test_names_files_targets_and_extras_exist(document):
    text = text_of(document)
    names = set(re.findall(r"(?<=`)rambit(?:\.\w+)+", text))
    for name in names:
        found = importlib.import_module("rambit")
        for number, part in enumerate(name.split(".")[1:], 2):
            if not hasattr(found, part):
                try:
                    importlib.import_module(".".join(name.split(".")[:number]))
                except ImportError as error:
                    if "rambit[baselines]" not in str(error):
                        raise
                    break  # it is there, and wants a peer that is not
            found = getattr(found, part)
    files = re.findall(r"`((?:[\w.]+/)+[\w.]*|\w+\.(?:py|md|h|cpp))`", text)
    for file in files:
        assert any((ROOT / base / file).exists() for base in (".", "rambit", "bench", "csrc")), file
    makefile = set(re.findall(r"^([\w-]+):", text_of("Makefile"), flags=re.M))
    targets = {word for words in re.findall(r"`make ([\w -]+)", text) for word in words.split()}
    assert targets <= makefile
    extras = set(re.findall(r"extras? `(\w+)`", text))
    extras |= {name for names in re.findall(r"rambit\[([\w,]+)\]", text) for name in names.split(",")}
    assert extras <= set(tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"])
    if document in ("README.md", "CONTRIBUTING.md", "bench/README.md"):
        assert names | set(files) | targets  # the patterns find something


def test_masks_values_and_distances_of_the_documentation_are_taken():
    X, background = torch.randn(2, 3, 8), torch.randn(20, 3, 8)
    model = GRUClassifier(num_features=3, num_classes=2, hidden_size=4)
    common = {"num_samples": 1, "anchor": "end", "window_size": 1}
    families = listed("Masks")
    assert len(families) == 8
    for name in families:
        method = RaMbIT(model, masks=name, share_masks=name != "upper_triangle", **common)
        assert method.attribute(X).shape == X.shape
    values = set(re.findall(r"^\| .*?$", text_of("docs/counterfactuals.md"), flags=re.M))
    values = {name for row in values for name in re.findall(r'`"(\w+)"`', row)}
    assert values == set(counterfactuals.STRATEGIES) - {"constant"}
    for name in values:
        known = {"background": background} if counterfactuals.needs_background(name) else {}
        assert RaMbIT(model, L=2, counterfactuals=name, **known, **common).attribute(X).shape == X.shape
    for metric in ("pd", "kl", "js", "l2", "diff"):
        assert metric in listed("Distances")
        assert RaMbIT(model, L=2, distance=metric, **common).attribute(X).shape == X.shape


def commands_in(text):
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip().startswith("rambit "):
            yield shlex.split(re.sub(r"\s+#.*", "", line.strip()))[1:]


def test_commands_of_the_documentation_and_of_the_help_parse(capsys):
    blocks = "\n".join(
        block for name in DOCUMENTS for block in re.findall(r"```sh\n(.*?)```", text_of(name), flags=re.S)
    )
    lines = [words for words in commands_in(blocks) if words != ["--help"]]
    assert len(lines) >= 12
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            _parser([name]).parse_args([name, "--help"])
        said = capsys.readouterr().out
        examples = said[said.rindex("\nexample") :].split("\n\n")[0]  # text follows them
        found = list(commands_in(examples))
        assert found
        lines += found
    for words in lines:
        assert _parser(words[:1]).parse_args(words)


# -- interfaces of others -----------------------------------------------------------------------------------------

#: The arguments of the published classes with their defaults, in order; ours may take more after them.
TSINFLUENCESCORING = {
    "TimestampSelector": {
        "input_dim": ...,
        "hidden_dim": 128,
        "num_heads": 4,
        "selection_method": "topk",
        "k": None,
        "temperature": 1.0,
        "dropout": 0.1,
    },
    "TaskConsistencyLoss": {"task_loss_fn": None},
    "DiversityLoss": {"sigma": 1.0},
    "MutualInformationLoss": {"hidden_dim": 64},
    "CombinedLoss": {
        "task_loss_fn": None,
        "alpha_task": 1.0,
        "alpha_diversity": 0.1,
        "alpha_mi": 0.05,
        "use_mi": False,
        "sigma": 1.0,
        "mi_hidden_dim": 64,
    },
    "CounterfactualGenerator": {
        "input_dim": ...,
        "hidden_dim": 128,
        "generation_method": "perturbation",
        "perturbation_scale": 0.1,
    },
    "CounterfactualExplainer": {"generator": ..., "model": ...},
    "InfluenceFramework": {
        "input_dim": ...,
        "hidden_dim": 128,
        "num_heads": 4,
        "selection_method": "topk",
        "k": None,
        "task_loss_fn": None,
        "alpha_task": 1.0,
        "alpha_diversity": 0.1,
        "alpha_mi": 0.05,
        "use_mi": False,
        "use_counterfactual": True,
        "generation_method": "perturbation",
    },
    "ModelAgnosticWrapper": {"base_model": ..., "framework": ..., "use_selected_only": True},
    "create_simple_framework": {"input_dim": ..., "k": ..., "hidden_dim": 128, "task": "regression"},
    "visualize_selection": {"x": ..., "mask": ..., "sample_idx": 0, "save_path": None},
}
WINIT = {
    "device": ...,
    "num_features": ...,
    "data_name": ...,
    "path": ...,
    "train_loader": None,
    "window_size": 10,
    "num_samples": 3,
    "conditional": False,
    "joint": False,
    "metric": "pd",
    "random_state": None,
}


def begins_with(function, published):
    given = inspect.signature(function).parameters.values()
    ours = {p.name: ... if p.default is inspect.Parameter.empty else p.default for p in given}
    return list(ours.items())[: len(published)] == list(published.items())


@pytest.mark.parametrize("name", TSINFLUENCESCORING)
def test_arguments_of_tsinfluencescoring(name):
    assert begins_with(getattr(selection, name), TSINFLUENCESCORING[name])


def test_arguments_of_the_published_winit(tmp_path):
    assert begins_with(compat.WinITExplainer, WINIT)
    assert begins_with(compat.WinITExplainer.set_model, {"self": ..., "model": ..., "set_eval": True})
    assert begins_with(compat.WinITExplainer.attribute, {"self": ..., "x": ...})
    assert {"train_generators", "test_generators", "load_generators", "get_name"} <= set(dir(compat.WinITExplainer))
    blocks = compat.BiWinITExplainer("cpu", 3, "toy", tmp_path, None, 5)  # by position, as there
    assert (blocks.num_features, blocks.window_size, blocks.height) == (3, 5, 2)


# -- what methods say of themselves -------------------------------------------------------------------------------


def test_which_methods_have_standard_errors():
    X, background = torch.randn(3, 3, 6), torch.randn(9, 3, 6)
    model = GRUClassifier(num_features=3, num_classes=2, hidden_size=4)
    for method in (RaMbIT, ExactShapley, ShapleySampling, Banzhaf):
        error = method(model, num_samples=2, background=background).explain(X).stderr
        assert error.shape == X.shape
        assert bool((error >= 0).all())
        assert float(error.max()) > 0
    assert WinIT(model, background=background).explain(X).stderr is None


def test_sufficiency_and_loading_leave_the_global_generators_alone(tmp_path):
    model = build_model({"model": "GRUClassifier", "num_features": 2, "hidden_size": 4}, seed=0)
    X = torch.linspace(-1, 1, 10).reshape(1, 2, 5)
    save_checkpoint(tmp_path / "model.safetensors", model)
    before = torch.get_rng_state(), numpy_state(), random.getstate()
    for heuristic in ("const", "random", "grad", "gnn", "daf", "banzhaf", "shapley"):
        explain(model, X, heuristic=heuristic, search="flat_garrft", num_samples=8)
    for search in ("flat_hadd", "flat_harr", "flat_gadd", "flat_garr", "flat_gradient", "exact"):
        explain(model, X, terms="timestamps", search=search, num_samples=8)
    load_checkpoint(tmp_path / "model.safetensors")
    assert torch.equal(before[0], torch.get_rng_state())
    assert numpy_state() == before[1]
    assert before[2] == random.getstate()


def test_a_shard_takes_less_than_a_kilobyte_of_the_manifest(tmp_path):
    method = RaMbIT(lambda x: x[:, :2, -1], num_samples=1, L=1, anchor="end", window_size=1, model_id="m")
    sizes = []
    for count in (2, 12):
        folder = tmp_path / str(count)
        batches = ({"X": torch.randn(3, 2, 5), "lengths": [3, 4, 5], "ids": [2**32 - 1] * 3} for _ in range(count))
        attribute_many(method, batches, folder, shard_size=3)
        sizes.append((folder / "manifest.json").stat().st_size)
    assert 0 < sizes[1] - sizes[0] < 10 * 1024


def test_a_transformer_reads_any_number_of_steps():
    model = build_model({"model": "TransformerClassifier", "num_features": 2, "hidden_size": 8}, seed=0).eval()
    assert isinstance(model, TransformerClassifier)
    x = torch.randn(1, 2, 3000)
    with torch.no_grad():
        torch.testing.assert_close(model(x, return_all=True)[:, :, 99], model(x[:, :, :100]))


def test_measures_of_scores_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    for number in range(60):
        scores = rng.normal(size=(3, 2, 7)) * 10.0 ** rng.integers(-12, 12)
        if number % 3 == 0:
            scores = np.round(scores)
        salient = rng.random(scores.shape) < rng.uniform(0.1, 0.9)
        found = truth.summary(scores, salient)
        assert all(0 <= found[name] <= 1 for name in ("auprc", "auroc", "iou", "aup", "aur")), found
        assert 1 <= found["mean_rank_min"] <= found["mean_rank"] <= 14
        assert 0 <= truth.information(scores) <= 16.61 * scores.size
        assert 0 <= truth.entropy(scores) <= scores.size


def test_defaults_that_the_help_of_compare_names(capsys):
    with pytest.raises(SystemExit):
        _parser(["compare"]).parse_args(["compare", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert inspect.getmodule(compare.run).__name__ == "rambit.cli.compare"
    for name in re.search(r"methods: ([\w, -]+?) Any of them", said)[1].split(", "):
        assert parse(name).text == name


def test_packages_that_are_stable_list_their_names():
    said = re.search(r"its packages (.*?) list in `__all__`", text_of("CONTRIBUTING.md"), flags=re.S)[1]
    packages = re.findall(r"`(\w+)`", said)
    assert {"attribution", "compare", "rex", "selection", "sufficiency"} <= set(packages)
    for name in packages:
        package = importlib.import_module(f"rambit.{name}")
        assert package.__all__
        assert [public for public in package.__all__ if not hasattr(package, public)] == [], name


# -- what CONTRIBUTING and bench/README say of the sources --------------------------------------------------------


def test_a_native_op_has_one_name_everywhere():
    ops = {path.stem for path in (ROOT / "csrc/glue").glob("*.h")} - {"all", "entry"}
    on_gpus = {path.stem for path in (ROOT / "csrc/cuda").glob("*.cu")}
    assert ops - on_gpus == {"gru_step", "lstm_step", "rnn_step"}
    assert {"masked_batch", "score"} <= on_gpus <= ops
    for name in ops:
        assert (ROOT / f"csrc/cpu/{name}.cpp").exists()
        assert (ROOT / f"tests/ops/test_{name}.py").exists()
        assert f"def {name}(" in text_of("rambit/ops.py")
        assert "tests.naive" in text_of(f"tests/ops/test_{name}.py"), name
        for file in ("csrc/backend.h", "csrc/ops.cpp", "csrc/glue/all.h", f"csrc/glue/{name}.h"):
            assert name in text_of(file), (name, file)
        args = "".join(word.capitalize() for word in name.split("_")) + "Args"
        assert f"struct {args} {{" in text_of(f"csrc/common/{name}.h"), name
        assert any(name in path.read_text() for path in (ROOT / "tests/csrc").glob("*.cpp")), name


def test_torch_is_included_in_one_place_and_its_ops_are_called_in_one():
    sources = [path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cpp", ".cu")]
    including = {
        str(path.relative_to(ROOT)) for path in sources if re.search(r"#include <(torch|ATen|c10)", path.read_text())
    }
    assert including == {"csrc/stable.h"}
    calling = {path.name for path in (ROOT / "rambit").rglob("*.py") if "torch.ops.rambit" in path.read_text()}
    # One makes an op in Python, for graphs; the other has masks and draws made on the CPU for devices without kernels.
    assert calling <= {"ops.py", "recurrent_op.py", "fallback.py"}


def test_what_must_hold_is_what_the_thresholds_say():
    limits = tomllib.loads(text_of("bench/thresholds.toml"))
    low, high = limits["at_least"], limits["at_most"]
    table = text_of("bench/README.md")
    said = {
        "150 × its definition with all threads, 110 × with one": (
            low["test_rambit.py::test_against_the_definition[all threads-mask-gru200]"],
            low["test_rambit.py::test_against_the_definition[one thread-mask-gru200]"],
        ),
        "shared masks: 0.16": (
            high["test_rambit.py::test_against_the_definition[all threads-mask-gru200] # bare model"],
        ),
        "at GRU-50: 210 ×": (low["test_rambit.py::test_against_the_definition[all threads-mask-gru50]"],),
        "anchor cell, GRU-200: 200 ×": (low["test_rambit.py::test_against_the_definition[one thread-cell-gru200]"],),
        "T^1.5 from 50 to 400, T^1.1 with anchor cell": (
            high["test_rambit.py::test_growth_in_time[mask]"],
            high["test_rambit.py::test_growth_in_time[cell]"],
        ),
        "1.7 × on 240 cells of a GRU, 10 × on": (
            low["test_captum.py::test_feature_ablation[one thread-gru-240]"],
            low["test_captum.py::test_feature_ablation[one thread-free-16384]"],
        ),
        "at 0.9 of `copy_`": (low["test_masked_batch.py::test_masked_batch[one thread-BDT-large]"],),
        "0.15 of the time of torch's own import": (high["test_import.py::test_import"],),
    }
    for words, numbers in said.items():
        assert words in table
        assert {float(number) for number in numbers} <= {float(n) for n in re.findall(r"\d+(?:\.\d+)?", words)}, words


# -- errors name the argument, before any work --------------------------------------------------------------------

NONSENSE = (object(), -1, 0, 10**30, -1e300, 1.5, float("nan"), float("inf"), "nope", "", "\n", b"x", [], {}, (1, 2))
NONSENSE += ([None], {"a": 1}, 2**63, 1j, lambda: 0, type, True, None)
NONSENSE += (torch.tensor(torch.nan), torch.zeros(0), torch.zeros(2, 2), np.array(["a"]), np.array(1.5))
METHODS = (RaMbIT, WinIT, BiWinIT, FO, Occlusion, ExactShapley, ShapleySampling, Banzhaf)
PARTS = (
    *(masks.Block, masks.Rows, masks.Columns, masks.Segments, masks.UpperTriangle, masks.Bernoulli),
    *(counterfactuals.Uniform, counterfactuals.Gaussian, counterfactuals.Interpolate),
)
NETWORKS = (GRUClassifier, LSTMClassifier, TCNClassifier, TransformerClassifier)
GENERATORS = (counterfactuals.FeatureGenerator, counterfactuals.JointGenerator)


def needed(kind, network, folder):
    """The arguments that it needs beside the one that is nonsense; `network` answers with three classes."""
    series = torch.zeros(3, 2, 5)
    if kind in METHODS or kind is ReX:
        return {"model": network, "height": 2} if kind is BiWinIT else {"model": network}
    if kind in NETWORKS or kind in GENERATORS:
        return {"num_features": 3, "hidden_size": 4}
    return {
        selection.TimestampSelector: {"input_dim": 3, "k": 2, "hidden_dim": 8},
        selection.CounterfactualGenerator: {"input_dim": 3, "hidden_dim": 8},
        explain: {"model": network, "sample": series, "num_samples": 2},
        fit: {"model": network, "X": series, "y": torch.tensor([0, 1, 2]), "epochs": 1},
        counterfactuals.GeneratorModel.fit: {
            "self": counterfactuals.JointGenerator(2, 4, prediction_size=2), "train": series, "epochs": 1
        },
        selection.ModelAgnosticWrapper.fit: {
            "self": selection.ModelAgnosticWrapper(
                network, selection.create_simple_framework(5, 1, 8, task="classification")
            ),
            "x": series, "targets": torch.tensor([0, 1, 2]), "epochs": 1,
        },
        attribute_many: {
            "attributor": RaMbIT(network, num_samples=1, L=1, anchor="end", window_size=1),
            "data": [series], "folder": folder,
        },
    }.get(kind, {})  # fmt: skip


FUNCTIONS = (fit, counterfactuals.GeneratorModel.fit, selection.ModelAgnosticWrapper.fit, explain, attribute_many)
SELECTORS = (selection.TimestampSelector, selection.CombinedLoss, selection.CounterfactualGenerator)
CHECKED = (*METHODS, ReX, *PARTS, *NETWORKS, *GENERATORS, *SELECTORS, *FUNCTIONS)
# Left out: the model itself, what is only true or false, torch's own type, and a loss, which may be any callable.
LEFT_OUT = {"self", "model", "all_zero_cf", "share_masks", "share_draws", "device", "task_loss_fn"}


class Evaluated(torch.nn.Module):
    """A model of three classes that notes how often it was asked."""

    def __init__(self):
        super().__init__()
        self.scale, self.times = torch.nn.Parameter(torch.ones(())), 0

    def forward(self, x, lengths=None, return_all=False):
        self.times += 1
        output = x.flatten(1)[:, [0, 1, 0]] * self.scale
        return output[..., None].expand(-1, -1, x.shape[2]) if return_all else output


def arguments_of(kind):
    """Names of all arguments; ReX takes those of its options too."""
    given = inspect.signature(kind).parameters.values()
    names = [p.name for p in given if p.kind is not p.VAR_KEYWORD and p.name not in LEFT_OUT]
    options = (SearchSettings, ExtractionOptions) if kind is ReX else ()
    return names + [field.name for options_of in options for field in dataclasses.fields(options_of)]


def complaint(kind, given):
    """What is said of these arguments; None where they are taken. Other kinds of errors pass through."""
    try:
        kind(**given)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", CHECKED, ids=lambda kind: kind.__qualname__)
def test_nonsense_is_refused_by_name_before_any_work(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    for name in arguments_of(kind):
        for number, value in enumerate(NONSENSE):
            if name in ("folder", "checkpoint") and isinstance(value, str):
                continue  # a folder that would be made
            network = Evaluated()
            words = complaint(kind, {**needed(kind, network, tmp_path / f"{name}{number}"), name: value})
            if words is not None:
                said.append((name, value, words, network.times))
    assert len(said) >= 10
    names = {"data": "data|batch 0"}  # the batch of the data
    assert [entry for entry in said if not re.search(names.get(entry[0], entry[0]), entry[2])] == []
    assert [entry for entry in said if entry[3]] == []
    assert kind is attribute_many or not list(tmp_path.iterdir())
