"""`rambit rex` gives the results of the Python calls; many inputs resume; what is wrong is said before any work."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file as save_tensors
from torch import nn

from rambit.cli.common import Parser
from rambit.cli.models import add_model
from rambit.cli.models import read_model as read
from rambit.cli.rex import rex_options
from rambit.rex import ExtractionOptions, NoExplanationError, ReX, RexExplanation
from rambit.store import Store
from rambit.training import load_checkpoint

pillow = pytest.importorskip("PIL.Image")
QUICK = ("--iters", 2, "--min-box-size", 4)
MODULE = '''
import torch
from torch import nn

def bright(x):
    """Is the upper left corner bright?"""
    logits = 8 * (x[:, :, :8, :8].mean((1, 2, 3)) - 0.3)
    return torch.stack((torch.zeros_like(logits), logits), dim=1)

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))

class Names:
    net = make()

three = 3
'''


def read_model(name):
    """The predictor of what --model names."""
    parser = Parser()
    add_model(parser)
    return read(parser.parse_args(["--model", str(name)])).predictor


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """The current folder, with a module of models."""
    (tmp_path / "zoo.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "zoo", raising=False)
    yield tmp_path
    sys.modules.pop("zoo", None)


def photo(path, seed=0, size=(16, 16), mode="RGB"):
    """A noisy image with a bright corner."""
    pixels = np.random.default_rng(seed).integers(0, 80, (*size, 3)).astype(np.uint8)
    pixels[: size[0] // 2, : size[1] // 2] += 150
    pillow.fromarray(pixels).convert(mode).save(path)
    return torch.from_numpy(np.array(pillow.open(path).convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)[None]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors().values(), b.tensors().values(), strict=True))


def bright(x):
    logits = 8 * (x[:, :, :8, :8].mean((1, 2, 3)) - 0.3)
    return torch.stack((torch.zeros_like(logits), logits), dim=1)


# --- one input --------------------------------------------------------------------------------------------------------


def test_an_image(rambit, zoo):
    x = photo(zoo / "a.png")
    done = rambit("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors", *QUICK, "--seed", 3)
    assert done.code == 0, done.err
    expected = ReX(bright, iters=2, min_box_size=4, seed=3).explain(x)
    found = RexExplanation.load("a.safetensors")
    assert same(found, expected)
    assert found.record() == expected.record()
    lines = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert lines["class"].strip() == "1"
    assert lines["rows"].strip() == str(expected.stats["rows"])
    assert f"{expected.confidence:.4f}" in lines["kept"]


def test_a_figure(rambit, zoo):
    pytest.importorskip("matplotlib")
    photo(zoo / "a.png")
    done = rambit("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors", "--figure", "b.png", *QUICK)
    assert done.code == 0, done.err
    assert (zoo / "b.png").read_bytes().startswith(b"\x89PNG")
    assert "a.safetensors, b.png" in done.out


def test_several_explanations_are_counted(rambit, zoo):
    photo(zoo / "a.png")
    options = ("--strategy", "multi_spotlight", "--initial-radius", 2, "--spotlights", 3)
    done = rambit("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors", *QUICK, *options)
    assert done.code == 0, done.err
    lines = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert int(lines["explanations"]) == len(RexExplanation.load("a.safetensors").spotlights)


def test_how_images_are_prepared(rambit, zoo):
    photo(zoo / "a.jpg", size=(40, 24), mode="L")
    run = ("rex", "a.jpg", "--model", "zoo:make", "--out", "a.safetensors", *QUICK, "--force")
    assert rambit(*run, "--size", "16x16", "--mean", ".5,.4,.3", "--std", "0.2").code == 0
    pixels = np.array(pillow.open(zoo / "a.jpg").convert("RGB").resize((16, 16), box=(0, 8, 24, 32)))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    x = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    x = (x - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / 0.2
    assert same(RexExplanation.load("a.safetensors"), ReX(net, iters=2, min_box_size=4).explain(x))
    assert rambit(*run, "--size", 16, "--grey").code == 2  # the model reads three channels


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_arrays_and_a_checkpoint(rambit, made, tmp_path, suffix):
    X = torch.randn(3, 2, 9, generator=torch.Generator().manual_seed(0))
    path = tmp_path / f"data{suffix}"
    if suffix == ".npy":
        np.save(path, X.numpy())
    elif suffix == ".npz":
        np.savez(path, X=X.numpy(), y=np.zeros(3))
    else:
        save_tensors({"X": X}, path)
    run = ("rex", path, "--model", made.model, "--series", 1, "--mask-value", "linear", "--iters", 3)
    done = rambit(*run, "--min-box-size", 1, "--out", tmp_path / "r.safetensors")
    assert done.code == 0, done.err
    expected = ReX(load_checkpoint(made.model)[0], iters=3, min_box_size=1, mask_value="linear").explain(X[1:2])
    assert same(RexExplanation.load(tmp_path / "r.safetensors"), expected)


def test_a_data_set(rambit, tmp_path):
    from rambit.datasets import load
    from rambit.models import build_model
    from rambit.training import save_checkpoint

    model = build_model({"model": "GRUClassifier", "num_features": 3, "hidden_size": 5}, seed=0)
    save_checkpoint(tmp_path / "m.safetensors", model, {})
    run = ("rex", "spike:n=10,T=20", "--model", tmp_path / "m.safetensors", "--out", tmp_path / "r.safetensors")
    done = rambit(*run, "--series", 1, *QUICK)
    assert done.code == 0, done.err
    x = torch.from_numpy(load("spike:n=10,T=20", "test").X[1:2])
    found = RexExplanation.load(tmp_path / "r.safetensors")
    assert same(found, ReX(model, iters=2, min_box_size=4).explain(x))


def test_an_onnx_model(zoo):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "mean",
        [onnx.helper.make_tensor_value_info("x", kind, ["n", 3, 16, 16])],
        [onnx.helper.make_tensor_value_info("y", kind, ["n", 3])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, zoo / "net.onnx")
    predictor = read_model(zoo / "net.onnx")
    x = torch.rand(4, 3, 16, 16)
    assert torch.allclose(predictor.whole(x)[:, :, 0], x.mean((2, 3)).softmax(1))
    assert len(predictor.fingerprint()["model_id"]) == 64


def test_models_by_name(zoo):
    x = torch.rand(2, 3, 16, 16)
    for name in ("zoo:make", "zoo:Names.net"):
        assert read_model(name).whole(x).shape == (2, 3, 1)
    assert str(zoo) not in sys.path


# --- settings files ---------------------------------------------------------------------------------------------------


def test_a_settings_file_and_flags_over_it(rambit, zoo):
    x = photo(zoo / "a.png")
    (zoo / "rex.toml").write_text(
        'iters = 7\nmin_box_size = 4\nqueue = "intersection"\nqueue_len = "all"\nmask_value = 0.5\nweighted = true\n'
        'distribution = "betabinom"\ndist_args = [1.5, 2]\nmax_memory = "64M"\nspotlights = 4\n'
    )
    run = ("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors", "--settings", "rex.toml")
    done = rambit(*run, "--iters", 2)
    assert done.code == 0, done.err
    expected = ReX(
        bright,
        iters=2,
        min_box_size=4,
        queue="intersection",
        queue_len=None,
        mask_value=0.5,
        weighted=True,
        distribution="betabinom",
        dist_args=(1.5, 2.0),
        spotlights=4,
    ).explain(x)
    found = RexExplanation.load("a.safetensors")
    assert same(found, expected)
    assert found.settings == expected.record()["settings"]


REX_XAI = """
[rex]
mask_value = 0.5
seed = 2
gpu = false
batch_size = 8
[rex.onnx]
means = [0.4, 0.5, 0.6]
stds = [0.2, 0.3, 0.4]
[CAUSAL]
iters = 7
min_box_size = 4
queue_style = "Intersection"
queue_len = "all"
search_limit = 300
[explanation]
chunk = 5
[explanation.multi]
strategy = "spotlight"
spotlights = 4
"""


def test_a_settings_file_of_rex_xai(rambit, zoo):
    x = photo(zoo / "a.png")
    (zoo / "rex.toml").write_text(REX_XAI)
    run = ("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors")
    done = rambit(*run, "-c", "rex.toml", "--iters", 2)
    assert done.code == 0, done.err
    x = (x - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    options = {"queue": "intersection", "queue_len": None, "search_limit": 300, "chunk_size": 5, "mask_value": 0.5}
    options |= {"iters": 2, "min_box_size": 4, "spotlights": 4, "seed": 2}
    expected = ReX(bright, **options).explain(x)
    found = RexExplanation.load("a.safetensors")
    assert same(found, expected)
    assert found.settings == expected.record()["settings"]
    lines = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert lines["settings"].strip() == "rex.toml, in rex-xai's names"
    assert "rex.toml: these are known, and change no explanation here: [rex] batch_size, " in done.err
    assert "[explanation.multi] strategy (as for rex-xai's command line, --strategy says it)" in done.err
    (zoo / "ours.toml").write_text("iters = 2\nmin_box_size = 4\n")
    done = rambit(*run, "--config", "ours.toml", "--force")
    assert "ours.toml, in rambit's names" in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (("--multi",), {"strategy": "multi_spotlight"}),
        (("--multi", 3), {"strategy": "multi_spotlight", "spotlights": 3}),
        (("--contrastive",), {"strategy": "contrastive"}),
        (("--complete",), {"strategy": "complete"}),
        (("-s", "spotlight"), {"strategy": "multi_spotlight"}),
        (("--strategy", "linear", "--confidence", 0.5), {"strategy": "global", "minimum_confidence_threshold": 0.5}),
    ],
)
def test_flags_of_rex_xai(given, meant):
    parser = Parser()
    rex_options.add_options(parser)
    options, read_from = rex_options.read_options(parser.parse_args([str(one) for one in given]))
    assert options == meant
    assert read_from == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[causal]\nitres = 3", "rex.toml: unknown key 'itres' in [causal]; did you mean iters in [causal]?"),
        ("iters = 3\n[causal]\n", "rex.toml: iters is given outside of all sections, but belongs in [causal]"),
        ('[rex]\nmask_value = "context"', "'context' needs another input: write --mask-value FILE"),
        ('[rex]\nmask_value = "random"', "rex.toml: [rex] mask_value must be a number, min, mean, spectral or context"),
        ('[causal]\nqueue_len = "some"', "rex.toml: queue_len must be an integer, got 'some'"),
        ("[rex.onnx]\nstds = [0, 1, 1]", "rex.toml: stds must be above 0"),
    ],
)
def test_wrong_settings_of_rex_xai(fails, zoo, text, said):
    photo(zoo / "a.png")
    (zoo / "rex.toml").write_text(text)
    assert said in fails("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors", "--settings", "rex.toml")
    assert not (zoo / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("itres = 3", "rex.toml: unknown option 'itres'; did you mean iters?"),
        ("zzz = 3", "unknown option 'zzz'; there are iters, "),
        ("[rex]\niters = 3", "rex.toml: iters is given in [rex], but belongs in [causal]"),
        ("iters = ", "rex.toml: not a TOML file"),
        ("iters = 2.5", "rex.toml: iters must be a whole number, got 2.5"),
        ("iters = true", "rex.toml: iters must be a whole number, got True"),
        ("weighted = 1", "rex.toml: weighted must be true or false, got 1"),
        ("iters = 0", "iters must be at least 1, got 0"),
        ('queue = "big"', "queue must be one of"),
        ('dist_args = ["a", "b"]', "dist_args must be numbers"),
        ('objective = "most"', "objective must be one of"),
    ],
)
def test_wrong_settings(fails, zoo, text, said):
    photo(zoo / "a.png")
    (zoo / "rex.toml").write_text(text)
    run = ("rex", "a.png", "--model", "zoo:bright", "--out", "a.safetensors", "--settings", "rex.toml")
    assert said in fails(*run)
    assert not (zoo / "a.safetensors").exists()


def test_every_argument_of_rex_is_an_option():
    import inspect

    arguments = {n for n, p in inspect.signature(ReX).parameters.items() if p.kind is p.KEYWORD_ONLY}
    arguments |= set(ExtractionOptions.__dataclass_fields__)
    known = {option.name for option in (*rex_options.REX, *rex_options.CIRCLES, *rex_options.MODEL)}
    assert known - {"target"} == arguments


# --- many inputs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(zoo):
    (zoo / "photos").mkdir()
    for i in range(3):
        photo(zoo / "photos" / f"{i}.png", seed=i)
    (zoo / "photos" / "notes.txt").write_text("not an image")
    return ("rex", "photos", "--model", "zoo:bright", "--model-id", "bright-1", "--out", "results", *QUICK)


def contents(store):
    with Store(store, read_only=True) as opened:
        return {name: RexExplanation.of(*opened.get(name)) for name in opened.names()}


def test_a_folder_of_images_resumes(rambit, folder, zoo, monkeypatch):
    explain_each = ReX.explain_each

    def interrupted(self, inputs, **options):
        each = explain_each(self, inputs, **options)
        yield from (next(each), next(each))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ReX, "explain_each", interrupted)
        done = rambit(*folder)
    assert done.code == 130
    assert done.err.splitlines()[-1] == "rambit: interrupted; the same command goes on from results"
    assert list(contents("results")) == ["0.png", "1.png"]
    done = rambit(*folder)
    assert done.code == 0, done.err
    assert "1 now, 2 before" in done.out
    found = contents("results")
    for i in range(3):
        x = photo(zoo / "photos" / f"{i}.png", seed=i)
        assert same(found[f"{i}.png"], ReX(bright, iters=2, min_box_size=4).explain(x, keep_input=False))
    assert "3 before" in rambit(*folder).out
    assert "3 now" in rambit(*folder, "--force").out


def test_old_results_of_another_kind_stay(rambit, fails, folder, zoo):
    assert rambit(*folder).code == 0
    before = {name: one.record() for name, one in contents("results").items()}
    assert "seed is 0 there and 1 here" in fails(*folder, "--seed", 1)
    assert "was written for other settings" in fails(*folder, "--model-id", "bright-2")
    photo(zoo / "photos" / "1.png", seed=9)
    assert "1.png has changed" in fails(*folder)
    assert {name: one.record() for name, one in contents("results").items()} == before


def test_a_name_that_no_store_takes_is_refused_before_any_work(fails, folder, zoo, monkeypatch):
    monkeypatch.setattr(ReX, "explain_each", lambda *_, **__: pytest.fail("work was done"))
    photo(zoo / "photos" / "3:00.png")
    assert "given '3:00.png'" in fails(*folder)
    assert not (zoo / "results").exists()


@pytest.mark.parametrize("harm", ["no classes", "no area", "input"])
def test_results_that_are_none_are_named(rambit, fails, folder, harm):
    assert rambit(*folder).code == 0
    with Store("results", read_only=True) as store:
        key, (tensors, record) = store.key, store.get("1.png")
    if harm == "no classes":
        del tensors["classes"]
    else:
        del record[harm.removeprefix("no ")]
    with Store("results", key=key) as store:
        store.put("1.png", tensors, record)
    assert "1.png" in fails(*folder)
    assert rambit(*folder, "--force").code == 0


def test_figures_of_many(rambit, fails, folder, zoo):
    pytest.importorskip("matplotlib")
    (zoo / "pictures").mkdir()
    (zoo / "pictures" / "1.png.png").write_text("mine")
    assert "1.png.png exists; --force" in fails(*folder, "--figure", "pictures")
    (zoo / "pictures" / "1.png.png").unlink()
    assert rambit(*folder, "--figure", "pictures").code == 0
    drawn = sorted(path.name for path in (zoo / "pictures").iterdir())
    assert drawn == ["0.png.png", "1.png.png", "2.png.png"]
    (zoo / "pictures" / "0.png.png").unlink()
    assert rambit(*folder, "--figure", "pictures").code == 0
    assert (zoo / "pictures" / "0.png.png").exists()


def test_many_arrays(rambit, made, tmp_path):
    X = np.random.default_rng(0).normal(size=(4, 2, 9)).astype(np.float32)
    np.save(tmp_path / "a.npy", X)
    run = ("rex", tmp_path / "a.npy", "--model", made.model, "--out", tmp_path / "results", "--series", "0,2-3")
    done = rambit(*run, "--min-box-size", 1, "--iters", 2)
    assert done.code == 0, done.err
    found = contents(tmp_path / "results")
    assert list(found) == ["0", "2", "3"]
    explainer = ReX(load_checkpoint(made.model)[0], iters=2, min_box_size=1)
    assert same(found["2"], explainer.explain(torch.from_numpy(X[2:3]), keep_input=False))


def test_one_of_many_is_refused_by_name(fails, folder, zoo):
    pillow.new("RGB", (16, 16)).save(zoo / "photos" / "1.png")  # dark: class 0
    said = fails(*folder, "--target", 1, "--contrastive")
    assert "1.png: target=1 is another class than the model gives to x, 0" in said
    assert list(contents("results")) == ["0.png"]


def test_what_comes_before_an_error_is_kept(rambit, folder, zoo):
    (zoo / "photos" / "1.png").write_bytes((zoo / "photos" / "1.png").read_bytes()[:200])
    done = rambit(*folder)
    assert done.code == 2
    assert "photos/1.png can't be read as an image" in done.err
    assert list(contents("results")) == ["0.png"]


def test_images_of_several_sizes(rambit, folder, zoo):
    photo(zoo / "photos" / "1.png", size=(12, 20))
    (zoo / "photos" / "extra").mkdir()
    photo(zoo / "photos" / "extra" / "3.png", size=(12, 20))
    done = rambit(*folder, "--recursive")
    assert done.code == 0, done.err
    found = contents("results")
    assert list(found) == ["0.png", "1.png", "2.png", "extra/3.png"]
    x = photo(zoo / "a.png", size=(12, 20))
    assert same(found["1.png"], ReX(bright, iters=2, min_box_size=4).explain(x, keep_input=False))


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_stores_nothing_leaves_nothing(rambit, fails, folder, zoo, there):
    if there:
        (zoo / "results").mkdir()
    before = sorted(zoo.rglob("*"))
    assert "0.png: " in fails(*folder, "--size", 8, "--model", "zoo:make", "--model-id", "m", "--heatmap", "maps")
    assert sorted(path for path in zoo.rglob("*") if "__pycache__" not in path.parts) == before
    assert rambit(*folder, "--seed", 1).code == 0


def test_a_plain_function_needs_a_name_for_its_results(fails, folder):
    without = [part for part in folder if part not in ("--model-id", "bright-1")]
    assert "results need a --model-id" in fails(*without)


def test_an_input_without_an_explanation_is_named_and_left_out(rambit, fails, folder, zoo, monkeypatch):
    explain = ReX._explanation

    def sometimes(self, decision, result, x, *arguments, **options):
        if torch.equal(x, refused):
            raise NoExplanationError("no part suffices")
        return explain(self, decision, result, x, *arguments, **options)

    refused = photo(zoo / "photos" / "1.png", seed=1)
    monkeypatch.setattr(ReX, "_explanation", sometimes)
    done = rambit(*folder)
    assert done.code == 0
    assert done.err == "rambit: warning: 1.png: no part suffices\n"
    lines = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert lines["explained"].strip() == "2 now, 0 before"
    assert lines["left out"].strip() == "1"
    assert list(contents("results")) == ["0.png", "2.png"]
    for i in (0, 2):
        (zoo / "photos" / f"{i}.png").unlink()
    done = rambit(*folder)
    assert done.code == 2
    assert done.err.splitlines()[-1] == "rambit: error: no input of photos has an explanation"


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(rambit, fails, zoo):
    photo(zoo / "a.png")
    (zoo / "a.safetensors").write_text("mine")
    run = ("rex", "a.png", "--model", "zoo:bright", *QUICK, "--out", "a.safetensors")
    assert "a.safetensors exists; --force" in fails(*run)
    assert (zoo / "a.safetensors").read_text() == "mine"
    assert rambit(*run, "--force").code == 0
    assert "is read by this command" in fails(*run[:-1], "b.safetensors", "--figure", "a.png", "--force")
    assert "must end in .safetensors" in fails(*run[:-1], "a.pt")


def test_wrong_images(fails, zoo, monkeypatch):
    def say(name, *more):
        return fails("rex", name, "--model", "zoo:bright", "--out", "r.safetensors", *more)

    assert "none.png: No such file" in say("none.png")
    (zoo / "text.png").write_text("text")
    assert "text.png can't be read as an image" in say("text.png")
    pillow.new("RGB", (16, 16)).save(zoo / "program.eps")
    (zoo / "program.eps").rename(zoo / "program.png")  # of a kind that pillow hands to another program
    assert "program.png can't be read as an image" in say("program.png")
    photo(zoo / "a.png", size=(64, 64))
    (zoo / "cut.png").write_bytes((zoo / "a.png").read_bytes()[:-2000])
    assert "cut.png can't be read as an image" in say("cut.png")
    assert "mean must hold 1 or 3" in say("a.png", "--mean", "1,2")
    assert "std must be positive" in say("a.png", "--std", "0")
    assert "--size must be HEIGHTxWIDTH" in say("a.png", "--size", "0").replace("argument ", "").replace(":", "")
    assert "--series does not apply" in say("a.png", "--series", 0)
    monkeypatch.setattr("rambit.cli.rex.image_files.MAX_POSITIONS", 1000)
    monkeypatch.setattr(ReX, "explain", lambda *_, **__: pytest.fail("work was done"))
    assert "a.png has 64 x 64 pixels, more than the limit of 1,000" in say("a.png")
    (zoo / "empty").mkdir()
    assert "holds no image files" in fails("rex", "empty", "--model", "zoo:bright", "--out", "r")


def test_wrong_arrays(fails, made, tmp_path):
    def say(name, *more):
        return fails("rex", tmp_path / name, "--model", made.model, "--out", tmp_path / "r.safetensors", *more)

    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    assert "allow_pickle" in say("object.npy")
    assert "object.npy: a .npy file holds one array" in say("object.npy", "--x", "Z")
    (tmp_path / "cut.safetensors").write_bytes(bytes(4))
    assert "cut.safetensors: it is truncated or not a safetensors file" in say("cut.safetensors")
    np.save(tmp_path / "deep.npy", np.zeros((1, 1, 1, 1, 3, 4)))
    assert "must hold spectra (T,) or (N, T), series (N, D, T)" in say("deep.npy")
    np.save(tmp_path / "nan.npy", np.full((1, 2, 9), np.nan))
    assert "NaN or infinite" in say("nan.npy")
    np.savez(tmp_path / "a.npz", Z=np.zeros((1, 2, 9)))
    assert "there is no 'X'; it holds Z" in say("a.npz")
    np.save(tmp_path / "a.npy", np.zeros((1, 2, 9), dtype=np.float32))
    assert "--x does not apply" in say("a.npy", "--x", "X")
    assert "there are series 0 to 0" in say("a.npy", "--series", 3)
    assert "--size is for image files" in say("a.npy", "--size", 3)
    (tmp_path / "a.txt").write_text("")
    assert "must end in one of" in say("a.txt")
    (tmp_path / "b.safetensors").write_bytes(b"12345678901")
    assert "b.safetensors" in say("b.safetensors")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", 7], "target must be one of the 2 classes"),
        (["--target", 0, "--complete"], "target=0 is another class than the model gives to x, 1"),
        (["--target", "one"], "--target"),
        (["--tree-depth", 0], "tree_depth must be at least 1, got 0"),
        (["--min-box-size", -1], "min_box_size must be at least 1, got -1"),
        (["--queue", "big"], "queue must be one of"),
        (["--mask-value", "median"], "mask_value must be a number or one of"),
        (["--mask-value", "linear"], "fills gaps along time"),
        (["--device", "cuda:99"], "--device"),
        (["--output", "regression"], "--output: must be auto, logits or probs"),
        (["--spotlights", 0], "spotlights must be at least 1"),
        (["--settings", "none.toml"], "none.toml: No such file"),
        (["--nope"], "--nope"),
    ],
)
def test_wrong_options(fails, zoo, options, said):
    photo(zoo / "a.png")
    assert said in fails("rex", "a.png", "--model", "zoo:bright", "--out", "r.safetensors", *options)
    assert not (zoo / "r.safetensors").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("model.pt", "model.pt: No such file"),
        ("none.safetensors", "none.safetensors: No such file"),
        ("none.onnx", "none.onnx: No such file"),
        ("nowhere_to_be_found:f", "nowhere_to_be_found"),
        ("zoo:absent", "zoo has no absent"),
        ("zoo:three", "zoo:three is a int, not a model"),
        ("zoo:a b", "must be a checkpoint"),
    ],
)
def test_wrong_models(fails, zoo, model, said):
    photo(zoo / "a.png")
    assert said in fails("rex", "a.png", "--model", model, "--out", "r.safetensors")


def test_nothing_passes_is_one_line(fails, zoo, monkeypatch):
    def nothing(*_, **__):
        raise NoExplanationError("none of 12 mutants gives class 1")

    monkeypatch.setattr(ReX, "explain", nothing)
    photo(zoo / "a.png")
    assert "none of 12 mutants" in fails("rex", "a.png", "--model", "zoo:bright", "--out", "r.safetensors")


def test_without_pillow(fails, zoo, monkeypatch):
    photo(zoo / "a.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "rambit[images]" in fails("rex", "a.png", "--model", "zoo:bright", "--out", "r.safetensors")
