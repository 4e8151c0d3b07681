"""What an image is made from, without an engine: the Containerfile, the staged context, the wheels, the variables."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from domainlm.project import environment

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "infra" / "docker"
TEXT = (DOCKER / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
LINES = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
FINAL = ("cpu", "cuda", "server")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docker_{name}", DOCKER / f"{name}.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCKER))
    try:
        spec.loader.exec_module(found)
    finally:
        sys.path.remove(str(DOCKER))
    return found


def stages() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in LINES:
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = [f"FROM {match[1]}"]
        elif found:
            list(found.values())[-1].append(line)
    return found


def test_every_stage_comes_from_the_one_base_or_another_stage() -> None:
    made = stages()
    assert set(FINAL) <= set(made)
    for name, lines in made.items():
        source = lines[0].removeprefix("FROM ")
        assert source == "${BASE}" or source in made, f"{name} comes from {source}"
    [base] = [line for line in LINES if line.startswith("ARG BASE=")]
    assert not base.endswith(":latest") and ":" in base


def test_final_images_run_as_a_user_by_number_that_is_not_root() -> None:
    made = stages()
    for name in FINAL:
        users = [line for line in made[name] if line.startswith("USER ")]
        while not users:  # of the stage that it comes from
            name = made[name][0].removeprefix("FROM ")
            users = [line for line in made[name] if line.startswith("USER ")]
        assert users == ["USER 10001:10001"]


def test_nothing_is_fetched_but_debians_python_and_no_secret_can_be_given() -> None:
    assert not re.search(r"\b(curl|wget|git clone|pip download|ADD )", TEXT)
    assert not re.search(r"(?i)(password|token|secret|api_?key|index-url|find-links=)\s*=", TEXT)
    for line in LINES:
        if "pip install" in line:
            assert "--no-index" in line and ("--require-hashes" in line or "--editable /app" in line)
        if "apt-get install" in line:
            assert "--no-install-recommends" in line and "rm -rf /var/lib/apt/lists/*" in line
    assert [line for line in LINES if line.startswith("COPY") and re.search(r"COPY (\S+ )*\. ", line)] == []


def test_the_image_sets_what_a_workstation_sets_for_the_folders_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [line for line in stages()["base"] if line.startswith("ENV ")]
    found = dict(pair.split("=", 1) for pair in block.removeprefix("ENV ").split())
    for name in environment():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOMAINLM_PROJECT", str(ROOT))
    monkeypatch.setenv("DOMAINLM_HOME", "/var/lib/domainlm-elsewhere")
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    here = {
        name: value.replace("/var/lib/domainlm-elsewhere", "/var/lib/domainlm").replace(str(ROOT), "/app")
        for name, value in environment().items()
    }
    assert {name: found.get(name) for name in here} == here


def test_the_work_tree_is_no_context() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["*"]


def checkout(root: Path) -> Path:
    """A small project in which secrets lie about."""
    for name, text in {
        "domainlm/code.py": "x = 1\n", "cli/main.py": "", "zenml_config.yaml": "steps: {}\n", "tests/test_x.py": "",
        "infra/kubernetes/secret.yaml": "", ".gitignore": ".domainlm/\n.env\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git = ("git", "-C", str(root), "-c", "user.name=x", "-c", "user.email=tina@bank.example")
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *arguments], check=True, timeout=60)
    for name in (".domainlm/keys/development.key", ".env", "domainlm/notes.txt", "configs/mine.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("not for an image")
    return root


def test_the_context_holds_what_git_knows_and_a_pod_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, wheels = checkout(tmp_path / "project"), tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "requirements.txt").write_text("")
    staging = module("context")
    monkeypatch.setattr(staging, "ROOT", root)
    (root / "domainlm/code.py").write_text("x = 2\n")
    folder = staging.stage(tmp_path / "context", wheels)
    inside = sorted(
        path.relative_to(folder / "app").as_posix() for path in (folder / "app").rglob("*") if path.is_file()
    )
    assert inside == [".checkout.json", "cli/main.py", "domainlm/code.py", "zenml_config.yaml"]
    assert (folder / "app/domainlm/code.py").read_text() == "x = 2\n"
    times = {int(path.stat().st_mtime) for path in (folder / "app").rglob("*")}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "app").rglob("*")}
    assert times == {staging.commit_time()} and modes == {0o755, 0o644}
    left = (folder / "app/.checkout.json").read_bytes()
    assert b"not for an image" not in left and b"tina" not in left


def test_a_folder_without_wheels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make image-wheels"):
        module("context").stage(tmp_path / "context", tmp_path)


def wheel(folder: Path, name: str, version: str) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        # a description that looks like a header
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n\nVersion: 9 (x)\n"
        )
    return path


def test_wheels_are_required_by_their_own_digest(tmp_path: Path) -> None:
    wheels = module("wheels")
    made = wheel(tmp_path, "thing", "1.0+cpu")
    assert wheels._requirement(made) == "thing==1.0+cpu"
    assert wheels._digest(made) == hashlib.sha256(made.read_bytes()).hexdigest()


def test_wheels_of_the_same_lock_are_collected_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = module("wheels")
    lock = tmp_path / "constraints.txt"
    lock.write_text("thing==1.0\n")
    monkeypatch.setattr(wheels, "LOCK", lock)
    monkeypatch.setattr(wheels, "_resolve", lambda *_: sys.exit("would collect"))
    folder = tmp_path / "wheels" / "cpu"
    folder.mkdir(parents=True)
    (folder / wheels.STAMP).write_text(wheels._made_from())
    with pytest.raises(SystemExit, match="would collect"):
        wheels.collect("cpu", tmp_path / "wheels")
    (folder / "requirements.txt").write_text("")
    assert wheels.collect("cpu", tmp_path / "wheels") == folder
    lock.write_text("thing==1.1\n")
    with pytest.raises(SystemExit, match="would collect"):
        wheels.collect("cpu", tmp_path / "wheels")


def test_other_wheels_are_another_layer() -> None:
    """podman 4.3 keeps the layer of a RUN although what it mounts has changed; an argument that changed drops it."""
    lines = stages()["packages"]
    install = next(number for number, line in enumerate(lines) if "--require-hashes" in line)
    assert "ARG WHEELS=" in lines[:install]


def test_what_the_lock_does_not_pin_is_no_wheel(tmp_path: Path) -> None:
    wheels = module("wheels")
    torch = re.search(r"^torch==(\S+)", wheels.LOCK.read_text(), re.M)
    assert torch
    hashed, loose = tmp_path / "hashed", tmp_path / "loose"
    wanted = f"rich==0.0.1 \\\n    --hash=sha256:{'0' * 64}\ntorch=={torch[1]}+cpu\n"
    with pytest.raises(SystemExit, match=r"rich==0\.0\.1"):
        wheels._split(wanted, hashed, loose)
    locked = wheels._locked("rich==" + re.search(r"^rich==(\S+)", wheels.LOCK.read_text(), re.M)[1])  # type: ignore[index]
    tools = wheels._split(f"{locked}\ntorch=={torch[1]}+cpu\n", hashed, loose)
    assert loose.read_text() == f"torch==={torch[1]}+cpu\n"
    assert locked in hashed.read_text() and "torch" not in hashed.read_text()
    assert sorted(tool.split("==")[0] for tool in tools) == ["setuptools", "uv"]
    assert all(f"{tool} " in hashed.read_text() for tool in tools)


def test_no_password_of_a_remote_becomes_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    build = module("build")
    for address, shown in {
        "https://tina:hunter2@git.bank.example/lm.git": "https://git.bank.example/lm.git",
        "git@git.bank.example:lm.git": "",
        "/home/tina/lm": "",
    }.items():
        monkeypatch.setattr(
            build.context, "git", lambda *words, address=address: "origin" if len(words) == 1 else address
        )
        assert build._source() == shown


def test_an_engine_that_does_not_answer_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = module("build")
    for name, code in (("podman", 1), ("docker", 1), ("buildah", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.engine() == "buildah"
    with pytest.raises(build.BuildFailed, match="docker"):
        build.engine("docker")
    (tmp_path / "buildah").unlink()
    with pytest.raises(build.BuildFailed, match="install podman"):
        build.engine()


HOOK = """
import sys
sys.path.insert(0, {hooks!r})
import domainlm_in_image
from zenml.integrations.registry import integration_registry
integration_registry.activate_integrations()
print(sorted({{"torch", "sklearn"}} & set(sys.modules)), len(integration_registry._integrations))
"""


def test_the_hook_keeps_zenml_from_importing_what_is_installed() -> None:
    code = HOOK.format(hooks=str(DOCKER / "hooks"))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True, env=dict(os.environ)
    )
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_the_hook_can_be_left_out() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(DOCKER / 'hooks')!r}); before = len(sys.meta_path); "
        "import domainlm_in_image; print(len(sys.meta_path) - before)"
    )
    for value, added in (("", "1"), ("1", "0")):
        variables = os.environ | {"DOMAINLM_ALL_INTEGRATIONS": value}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=variables)
        assert done.stdout.strip() == added


def test_bytecode_is_of_the_families_that_our_bases_belong_to(tmp_path: Path) -> None:
    compiling = module("hooks/compile")
    models = tmp_path / "transformers" / "models"
    bases = (ROOT / "domains/finance/bases.yaml").read_text()
    families = {kind.removesuffix("_text") for kind in re.findall(r"model_type: (\w+)", bases)}
    assert families and families <= compiling.FAMILIES
    assert compiling.wanted(models / "llama" / "modeling_llama.py")
    assert not compiling.wanted(models / "zoedepth" / "modeling_zoedepth.py")
    assert compiling.wanted(models / "__init__.py") and compiling.wanted(tmp_path / "steps" / "train.py")


def test_the_bill_for_an_image_names_what_is_installed_here_and_refuses_what_the_lock_does_not_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from datetime import UTC, datetime
    from importlib import metadata

    from domainlm.audit.standards.bom import image_bom
    from domainlm.errors import ArtifactError

    status = tmp_path / "status"
    status.write_text(
        "Package: libgomp1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.2.0-14+deb12u1\n"
        "Description: GCC: OpenMP\n support: library\n\nPackage: gone\nStatus: deinstall ok config-files\n"
        "Architecture: amd64\nVersion: 1\n"
    )
    lock, moment = tmp_path / "constraints.txt", datetime(2026, 11, 21, tzinfo=UTC)
    pins: dict[str, str] = {}
    for one in metadata.distributions():
        pins.setdefault(re.sub(r"[-_.]+", "-", one.name).lower(), one.version)
    pins.pop("domainlm", None)
    lock.write_text("".join(f"{name}=={version.partition('+')[0]}\n" for name, version in sorted(pins.items())))
    vendored = tmp_path / "vendored" / "pydantic-0.9.dist-info"  # setuptools brings such copies, last on the path
    vendored.mkdir(parents=True)
    (vendored / "METADATA").write_text("Metadata-Version: 2.1\nName: pydantic\nVersion: 0.9\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(vendored.parent)])
    bill = image_bom(lock, status, moment)
    found = {(one["name"].lower(), one["version"]) for one in bill["components"]}
    assert ("libgomp1", "12.2.0-14+deb12u1") in found and "gone" not in {name for name, _ in found}
    assert ("pydantic", metadata.version("pydantic")) in found and ("torch", metadata.version("torch")) in found
    assert bill == image_bom(lock, status, moment)
    lock.write_text(re.sub(r"^pydantic==.*$", "pydantic==0.1", lock.read_text(), flags=re.M))
    with pytest.raises(ArtifactError, match=r"pydantic .* is installed, pinned 0\.1"):
        image_bom(lock, status, moment)
