"""The version, what is installed, and files for contributors: each fact stands once, or is compared."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import rambit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "CITATION.cff").exists(), reason="the sources are not here")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads(text_of("pyproject.toml"))


def test_one_version(project):
    version = project["project"]["version"]
    assert rambit.__version__ == version
    assert re.search(r"^version: (.+)$", text_of("CITATION.cff"), flags=re.M)[1] == version
    assert re.search(r'^  version: "(.+)"$', text_of("recipe/recipe.yaml"), flags=re.M)[1] == version
    headings = re.findall(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), flags=re.M)
    assert headings[:2] == ["Unreleased", version]
    assert not [path for path in (ROOT / "rambit").rglob("*.py") if f'"{version}"' in path.read_text(encoding="utf-8")]


def test_the_changelog_keeps_its_form():
    text = text_of("CHANGELOG.md")
    assert set(re.findall(r"^### (.+)$", text, flags=re.M)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"),
    }
    parts = re.split(r"^## ", text, flags=re.M)[1:]
    for part in parts:
        sections = re.findall(r"^### (.+)$", part, flags=re.M)
        assert sections
        assert len(sections) == len(set(sections))
    assert re.findall(r"^\[(.+?)\]: ", text, flags=re.M) == re.findall(r"^## \[(.+?)\]", text, flags=re.M)


def test_one_address(project):
    urls = project["project"]["urls"]
    assert {"Homepage", "Repository", "Issues", "Changelog"} <= set(urls)
    home = urls["Homepage"]
    assert all(url.startswith(home) for url in urls.values())
    assert f'"{home}"' in text_of("CITATION.cff")
    assert re.findall(r"^  (?:homepage|repository): (.+)$", text_of("recipe/recipe.yaml"), flags=re.M) == [home] * 2
    assert re.findall(r"https://github\.com/[\w-]+/[\w-]+", text_of("CHANGELOG.md")) == [home] * 2


def test_the_extra_dev_is_the_groups(project):
    groups = project["dependency-groups"]
    included = [entry["include-group"] for entry in groups["dev"]]
    assert set(included) == set(groups) - {"dev"}
    assert {one for name in included for one in groups[name]} == set(project["project"]["optional-dependencies"]["dev"])
    assert groups["bench"] == project["project"]["optional-dependencies"]["bench"]


def test_the_recipe_needs_what_the_project_needs(project):
    recipe = pytest.importorskip("yaml").safe_load(text_of("recipe/recipe.yaml"))["requirements"]

    def plain(needs):
        """Without markers, as conda calls them."""
        return {re.sub(r"^torch\b", "pytorch", re.sub(r"[ ;].*", "", one)) for one in needs}

    def listed(part):
        flat = [one if isinstance(one, str) else one["then"] for one in recipe[part]]
        return {one.replace(" ", "") for one in flat if isinstance(one, str)}

    assert listed("run") == plain(project["project"]["dependencies"]) | {"python"}
    built_with = {re.sub("==.*", ">=2.10", one) for one in plain(project["build-system"]["requires"])}
    assert built_with <= listed("host")


def test_typing_extensions_is_declared_if_it_is_imported(project):
    declared = any(one.startswith("typing_extensions") for one in project["project"]["dependencies"])
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "rambit").rglob("*.py"))
    assert declared == any(re.search(r"^\s*(from|import) typing_extensions", text, flags=re.M) for text in sources)


def test_hooks_are_the_tools_of_the_extra_dev_and_of_lint(project):
    yaml = pytest.importorskip("yaml")
    entries = {
        hook["id"]: hook["entry"].split()
        for repository in yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
        for hook in repository["hooks"]
    }
    assert set(entries) == {"ruff", "ruff-format", "mypy", "import-linter", "yamllint", "clang-format"}
    lint = text_of("Makefile").split("\nlint: setup\n")[1].split("\n\n")[0].replace("$(BIN)", ".venv/bin")
    for words in entries.values():
        assert words[0] == "clang-format" or words[0] in lint


def test_forms_for_issues_are_whole():
    yaml = pytest.importorskip("yaml")
    forms = [path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert {path.stem for path in forms} == {"bug", "feature"}
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
        assert all(field["type"] in ("textarea", "input") and field["attributes"]["label"] for field in form["body"])
        assert any(field.get("validations", {}).get("required") for field in form["body"])
