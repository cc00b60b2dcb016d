# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""A signed bundle is what its maker left: every change is seen, and nothing else passes for a signature."""

import base64
import hashlib
import json
import os
import py_compile
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import monai_shield.bundle.signature as module
from monai_shield.__main__ import main
from monai_shield.bundle import BundleTrustError, make_keys, sign_bundle, verify_bundle

FILES = {
    "configs/inference.json": b'{"network": "$1"}',
    "configs/metadata.json": b"{}",
    "configs/logging.conf": b"[loggers]",
    "models/model.pt": bytes(range(256)),
    "models/shield/detector.pt": b"",
    "scripts/__init__.py": b"",
    "scripts/net work.py": b"import os\n",
    "docs/README.md": b"what it does",
    ".hidden": b"also",
    "LICENSE": b"free",
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def bundle(tmp_path):
    return write(tmp_path / "bundle")


@pytest.fixture
def signed(bundle, keys):
    sign_bundle(bundle, keys[0])
    return bundle


def write(root, files=FILES):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def refused(bundle, key, message):
    with pytest.raises(BundleTrustError, match=message) as caught:
        verify_bundle(bundle, key)
    assert "\n" not in str(caught.value)


def test_every_file_is_in_it_and_only_the_signature_is_added(bundle, keys):
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert sign_bundle(bundle, keys[0]) == bundle / "SIGNATURE"
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert verify_bundle(bundle, keys[1]) == sums
    after = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert after.pop(bundle / "SIGNATURE")
    assert after == before


@pytest.mark.parametrize("name", FILES)
def test_each_file_counts(name, signed, keys):
    file = signed / name
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:] if content else b"\0")
    refused(signed, keys[1], f"{re.escape(str(file))}' was changed")
    file.unlink()
    refused(signed, keys[1], f"{re.escape(str(file))}' is missing")
    file.write_bytes(content)
    verify_bundle(signed, keys[1])
    file.rename(file.with_name("~other"))
    refused(signed, keys[1], "(is missing|was added)")


@pytest.mark.parametrize(
    "name", ["configs/z.yaml", "new/helper.py", "torch.py", "models/model.ts", ".x", "z/SIGNATURE"]
)
def test_an_added_file_counts(name, signed, keys):
    write(signed, {name: b""})
    refused(signed, keys[1], f"{re.escape(str(signed / name))}' was added")


def test_the_first_of_several_is_named(signed, keys):
    for name in ("scripts/__init__.py", "configs/metadata.json", "models/model.pt"):
        (signed / name).write_bytes(b"else")
    (signed / "configs" / "logging.conf").unlink()
    refused(signed, keys[1], r"configs/logging\.conf' is missing")


def test_contents_that_change_places_are_seen(signed, keys):
    one, two = signed / "configs" / "metadata.json", signed / "models" / "model.pt"
    contents = one.read_bytes(), two.read_bytes()
    two.write_bytes(contents[0])
    one.write_bytes(contents[1])
    refused(signed, keys[1], r"metadata\.json' was changed")


def test_it_goes_with_the_bundle_wherever_it_lies(signed, keys, tmp_path):
    shutil.copytree(signed, tmp_path / "elsewhere" / "renamed")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "renamed")
    assert verify_bundle(tmp_path / "link", keys[1]) == verify_bundle(signed, keys[1])


def test_it_is_made_anew_after_a_change_and_the_same_otherwise(signed, keys):
    first = (signed / "SIGNATURE").read_bytes()
    sign_bundle(signed, keys[0])
    assert (signed / "SIGNATURE").read_bytes() == first
    (signed / "LICENSE").write_bytes(b"other")
    sign_bundle(signed, keys[0])
    verify_bundle(signed, keys[1])
    (signed / "SIGNATURE").write_bytes(first)  # an older signature does not fit
    refused(signed, keys[1], "LICENSE' was changed")


def test_another_key_is_refused(signed, keys, tmp_path):
    other = make_keys(tmp_path / "other")
    refused(signed, other[1], "was not signed with the key of")
    (signed / "LICENSE").write_bytes(b"other")
    sign_bundle(signed, other[0])  # who rewrites everything, the signature too
    refused(signed, keys[1], "was not signed with the key of")


def test_a_manifest_made_to_fit_is_refused(signed, keys):
    (signed / "LICENSE").write_bytes(b"other")
    file = signed / "SIGNATURE"
    old, new = (hashlib.sha256(content).hexdigest().encode() for content in (FILES["LICENSE"], b"other"))
    assert file.read_bytes().count(old) == 1
    file.write_bytes(file.read_bytes().replace(old, new))
    refused(signed, keys[1], "SIGNATURE' was not signed with the key of")


def test_no_byte_of_the_signature_s_file_can_differ(signed, keys):
    file = signed / "SIGNATURE"
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        refused(signed, keys[1], "SIGNATURE' ")
    for length in range(len(content)):
        file.write_bytes(content[:length])
        refused(signed, keys[1], "SIGNATURE' is no signature of a bundle, or a damaged one")
    for garbage in (b"\n", b"\0", b"=", content, b"# Ed25519 " + b"A" * 86 + b"==\n"):
        for other in (content + garbage, garbage + content):
            file.write_bytes(other)
            refused(signed, keys[1], "SIGNATURE' ")
    file.unlink()
    refused(signed, keys[1], "is not signed: it has no SIGNATURE")
    file.mkdir()
    refused(signed, keys[1], "is not signed: it has no SIGNATURE")


@given(garbage=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_garbage_is_no_signature(garbage, signed, keys):
    (signed / "SIGNATURE").write_bytes(garbage)
    refused(signed, keys[1], "SIGNATURE' is no signature of a bundle, or a damaged one")


#: A name that a file system takes and a signature too.
LETTERS = st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\", include_characters=" ")
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@given(data=st.data(), files=st.dictionaries(PATHS, st.binary(max_size=20), max_size=5))
@settings(max_examples=60)
def test_any_tree_is_what_it_was_or_the_difference_is_named(data, files, keys, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    folders = {"/".join(path.split("/")[:end]) for path in files for end in range(1, path.count("/") + 1)}
    files = {f"any/{path}": content for path, content in files.items() if path not in folders}
    write(root, files | {"configs/inference.json": b"{}"})
    sign_bundle(root, keys[0])
    assert verify_bundle(root, keys[1]).keys() == {*files, "configs/inference.json"}
    if files:
        name = data.draw(st.sampled_from(sorted(files)))
        (root / name).write_bytes(data.draw(st.binary(max_size=20).filter(lambda content: content != files[name])))
        refused(root, keys[1], f"{re.escape(str(root / name))}' was changed")


def test_openssl_and_sha256sum_agree(signed, keys, tmp_path):
    """What was signed can be checked without this repository."""
    if not (shutil.which("openssl") and shutil.which("sha256sum")):
        pytest.skip("no openssl or no sha256sum")
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SIGNATURE"], cwd=signed, check=False)
    assert sums.returncode == 0
    *lines, last = (signed / "SIGNATURE").read_bytes().splitlines(keepends=True)
    (tmp_path / "lines").write_bytes(b"".join(lines))
    (tmp_path / "signature").write_bytes(base64.b64decode(last.removeprefix(b"# Ed25519 ")))
    words = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(keys[1])]
    words += ["-sigfile", "signature", "-in", "lines"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done.stderr
    (tmp_path / "lines").write_bytes(b"".join(lines) + b"\n")
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_the_signature_is_ed25519_over_the_lines(signed, keys):
    """RFC 8032's signature is deterministic: the library's own, made here from what is specified, is the same."""
    private = serialization.load_pem_private_key(keys[0].read_bytes(), None)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(FILES.items())]
    text = ("# files of a bundle, signed by monai-shield, format 1\n" + "".join(lines)).encode()
    expected = text + b"# Ed25519 " + base64.b64encode(private.sign(text)) + b"\n"
    assert (signed / "SIGNATURE").read_bytes() == expected


def test_compiled_python_is_refused_since_it_runs_in_place_of_its_source(signed, keys, tmp_path):
    source = signed / "scripts" / "__init__.py"
    (tmp_path / "bad.py").write_text("value = 'not what was signed'\n")
    cache = source.parent / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(tmp_path / "bad.py"), str(cache), invalidation_mode=mode)
    words = [sys.executable, "-B", "-c", "import scripts; print(scripts.value)"]
    done = subprocess.run(words, cwd=signed, capture_output=True, text=True, check=True)
    assert done.stdout == "not what was signed\n"  # the danger is real
    refused(signed, keys[1], "__pycache__' holds compiled Python")
    with pytest.raises(BundleTrustError, match="__pycache__' holds compiled Python"):
        sign_bundle(signed, keys[0])


def test_links(bundle, keys, tmp_path):
    (tmp_path / "outside").write_bytes(FILES["LICENSE"])
    license_file = bundle / "LICENSE"
    license_file.unlink()

    def no_signing(message):
        with pytest.raises(BundleTrustError, match=message):
            sign_bundle(bundle, keys[0])

    for target in ("../outside", str(tmp_path / "outside"), "nowhere/../../outside"):
        license_file.symlink_to(target)
        no_signing("LICENSE' is a link to .*outside', which is not in the bundle")
        license_file.unlink()
    license_file.symlink_to("nowhere")
    no_signing("LICENSE' is no file")
    license_file.unlink()
    license_file.symlink_to("docs")
    no_signing("LICENSE' is a link to a folder")
    license_file.unlink()
    license_file.symlink_to(".hidden")
    sign_bundle(bundle, keys[0])
    assert verify_bundle(bundle, keys[1])["LICENSE"] == hashlib.sha256(FILES[".hidden"]).hexdigest()
    license_file.unlink()
    license_file.symlink_to("docs/README.md")
    refused(bundle, keys[1], "LICENSE' was changed")
    license_file.unlink()
    license_file.symlink_to("../outside")
    refused(bundle, keys[1], "LICENSE' is a link to .*outside', which is not in the bundle")


def test_what_is_no_file_or_has_no_name_that_can_be_written_down(signed, keys):
    os.mkfifo(signed / "pipe")
    refused(signed, keys[1], "pipe' is no file")
    (signed / "pipe").unlink()
    for name in ("a\nb", "a\\b", "a\u2028b", os.fsdecode(b"a\xff")):
        (signed / name).touch()
        refused(signed, keys[1], "characters that cannot be signed")
        (signed / name).unlink()
    verify_bundle(signed, keys[1])


def test_keys(tmp_path):
    private, public = make_keys(tmp_path / "new" / "keys")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    loaded = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(loaded, ed25519.Ed25519PrivateKey)
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    other = serialization.load_pem_public_key(public.read_bytes())
    assert loaded.public_key().public_bytes(*raw) == other.public_bytes(*raw)
    again = make_keys(tmp_path / "again")
    assert again[0].read_bytes() != private.read_bytes()
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(BundleTrustError, match=r"private\.pem' is there already"):
        make_keys(private.parent)
    assert (private.read_bytes(), public.read_bytes()) == before
    private.unlink()
    with pytest.raises(BundleTrustError, match=r"public\.pem' is there already"):
        make_keys(private.parent)
    assert not private.exists()
    assert public.read_bytes() == before[1]
    with pytest.raises(BundleTrustError, match="no keys in"):
        make_keys(public)


def test_a_key_that_another_process_makes_meanwhile_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os.path, "lexists", lambda path: False)
    (tmp_path / "private.pem").write_text("another's")
    with pytest.raises(BundleTrustError, match=r"no keys in .* exists"):
        make_keys(tmp_path)
    assert (tmp_path / "private.pem").read_text() == "another's"


def test_keys_that_are_none(signed, keys, tmp_path):
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked, curve, garbage = tmp_path / "locked.pem", tmp_path / "curve.pem", tmp_path / "garbage.pem"
    password = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(pem, pkcs8, password))
    other = ec.generate_private_key(ec.SECP256R1())
    curve.write_bytes(other.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    garbage.write_bytes(b"\xff" * 9)
    for key, message in [
        (tmp_path / "nowhere.pem", r"nowhere\.pem' cannot be read"),
        (tmp_path, "cannot be read"),
        (garbage, r"garbage\.pem' holds no private key"),
        (keys[1], r"public\.pem' holds no private key"),
        (locked, r"locked\.pem' holds no private key that can be used: it has a password"),
        (curve, r"curve\.pem' holds another kind of key than Ed25519"),
    ]:
        with pytest.raises(BundleTrustError, match=message) as caught:
            sign_bundle(signed, key)
        assert "\n" not in str(caught.value)
    refused(signed, keys[0], r"private\.pem' holds no public key")
    refused(signed, tmp_path / "nowhere.pem", r"nowhere\.pem' cannot be read")


def test_a_key_in_the_bundle_proves_nothing(bundle, keys):
    private, public = make_keys(bundle / "configs")
    with pytest.raises(BundleTrustError, match=r"private\.pem' lies in the bundle"):
        sign_bundle(bundle, private)
    sign_bundle(bundle, keys[0])
    refused(bundle, public, r"public\.pem' lies in the bundle")


def test_what_is_no_bundle(keys, tmp_path):
    refused(tmp_path, keys[1], "no bundle in")
    with pytest.raises(BundleTrustError, match="no bundle in"):
        sign_bundle(tmp_path / "nowhere", keys[0])


def test_killed_while_signing_it_is_what_it_was(signed, keys, monkeypatch):
    (signed / "LICENSE").write_bytes(b"other")
    before = {path: path.read_bytes() for path in signed.rglob("*") if path.is_file()}

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        sign_bundle(signed, keys[0])
    assert {path: path.read_bytes() for path in signed.rglob("*") if path.is_file()} == before


def test_without_cryptography_the_extra_is_named(signed, keys, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for call, words in [
        (make_keys, (tmp_path / "keys",)),
        (sign_bundle, (signed, keys[0])),
        (verify_bundle, (signed, keys[1])),
    ]:
        with pytest.raises(ImportError, match=r"pip install 'monai-shield\[sign\]'"):
            call(*words)
    assert not (tmp_path / "keys").exists()
    monkeypatch.setattr(sys, "argv", ["monai-shield", "verify", str(signed), str(keys[1])])
    with pytest.raises(SystemExit, match=r"^monai-shield: .*monai-shield\[sign\]"):
        main()


def test_the_commands_of_the_page(tmp_path, monkeypatch, capsys):
    """Those of docs/bundles.md, one after the other, in a repository of its own."""
    repository = Path(__file__).parents[2]
    page = (repository / "docs" / "bundles.md").read_text()
    commands = re.findall(r"^python -m monai_shield ((?:keys|sign|verify) .*?)(?:  +#.*)?$", page, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["keys", "sign", "verify"]

    root = tmp_path / "bundles" / "brain_mri_shield"
    shutil.copytree(repository / "bundles" / "brain_mri_shield", root)
    monkeypatch.chdir(tmp_path)

    def run(command):
        monkeypatch.setattr(sys, "argv", ["monai-shield", *shlex.split(command)])
        main()
        return capsys.readouterr().out

    for command in commands:
        said = run(command)
    number = sum(path.is_file() for path in root.rglob("*")) - 1
    assert said == f"bundles/brain_mri_shield: {number} files, all as they were signed\n"
    config = root / "configs" / "inference.json"
    changed = json.loads(config.read_text()) | {"on_reject": "keep"}
    config.write_text(json.dumps(changed))
    with pytest.raises(SystemExit, match=r"^monai-shield: '.*inference\.json' was changed after") as ended:
        run(commands[-1])
    assert "\n" not in ended.value.code  # a string is printed, with exit status 1
    with pytest.raises(SystemExit, match=r"private\.pem' is there already"):
        run(commands[0])
