# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The signature of a bundle: every file as its maker left it, checked with a key that is kept elsewhere."""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai_shield.command_line import BundleTrustError
from monai_shield.utils import atomic_path, first_line, sha256

#: In the bundle's folder: the sum of each file, which ``sha256sum -c`` reads, and the signature of these lines.
SIGNATURE_FILE = "SIGNATURE"

#: Is signed too, so that no signature of anything else that was made with the same key passes for one of a bundle.
_FIRST_LINE = "# files of a bundle, signed by monai-shield, format 1\n"
_LAST_LINE = b"# Ed25519 "


def make_keys(folder: str | Path) -> tuple[Path, Path]:
    """
    Make a pair of Ed25519 keys in a folder: ``private.pem``, which nobody else may read, and ``public.pem``.

    Raises:
        BundleTrustError: where one of them is there already, or cannot be written.
        ImportError: where ``cryptography`` is not installed.
    """
    ed25519, serialization = _cryptography()
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    root = Path(str(folder))
    files = root / "private.pem", root / "public.pem"
    for file in files:
        if os.path.lexists(file):
            raise BundleTrustError(f"key file '{file}' is there already, and keys are never overwritten.")
    with _told(f"no keys in '{root}'"):
        root.mkdir(parents=True, exist_ok=True)
        for file, text, mode in zip(files, (private, public), (0o600, 0o644)):
            # never atomic_path: it would replace a key that another process has just made
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
                stream.write(text)
    return files


def sign_bundle(bundle: str | Path, private_key: str | Path) -> Path:
    """
    Sign every file of a bundle as it is now. Nothing of the bundle is run.

    Args:
        bundle: folder of the bundle.
        private_key: PEM file of an Ed25519 private key without a password, outside the bundle.

    Returns:
        the file of the signature, ``SIGNATURE`` in the bundle's folder. It is written whole or not at all.

    Raises:
        BundleTrustError: where the key is none, or the folder holds what cannot be signed: a link that leaves it or
            leads to a folder, compiled Python, something that is no file.
        ImportError: where ``cryptography`` is not installed.
    """
    key = _read_key(private_key, private=True)
    root = _root(bundle, private_key)
    manifest = _manifest(_sums(root))
    file = root / SIGNATURE_FILE
    with _told(f"'{file}' cannot be written"), atomic_path(file) as temporary:
        temporary.write_bytes(_signed(manifest, key.sign(manifest)))
    return file


def verify_bundle(bundle: str | Path, public_key: str | Path) -> dict[str, str]:
    """
    Check that a bundle is what the owner of a key has signed: no file changed, added or missing. Nothing of it is run.

    Args:
        bundle: folder of the bundle.
        public_key: PEM file of an Ed25519 public key, outside the bundle.

    Returns:
        the SHA-256 sum of each file by its path in the bundle.

    Raises:
        BundleTrustError: where it is not; names the first file, by path, that is not as it was signed.
        ImportError: where ``cryptography`` is not installed.
    """
    key = _read_key(public_key, private=False)
    from cryptography.exceptions import InvalidSignature  # it is there, or there would be no key

    root = _root(bundle, public_key)
    file = root / SIGNATURE_FILE
    if not file.is_file():
        raise BundleTrustError(f"the bundle in '{root}' is not signed: it has no {SIGNATURE_FILE}.")
    with _told(f"'{file}' cannot be read"):
        content = file.read_bytes()
    manifest, signature = _split(content, file)
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        raise BundleTrustError(f"'{file}' was not signed with the key of '{public_key}', or was changed.") from None
    sums = _sums(root)
    if manifest != _manifest(sums):
        raise BundleTrustError(_first_difference(_parse(manifest), sums, root, file))
    return sums


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Within it an error of the file system is told in one line."""
    try:
        yield
    except OSError as error:
        raise BundleTrustError(f"{what}: {first_line(error)}") from error


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ImportError("signatures need cryptography: pip install 'monai-shield[sign]'") from error
    return ed25519, serialization


def _read_key(path: str | Path, private: bool) -> Any:
    ed25519, serialization = _cryptography()
    kind, form = ("private", ed25519.Ed25519PrivateKey) if private else ("public", ed25519.Ed25519PublicKey)
    with _told(f"key file '{path}' cannot be read"):
        content = Path(str(path)).read_bytes()
    try:
        if private:
            key = serialization.load_pem_private_key(content, password=None)
        else:
            key = serialization.load_pem_public_key(content)
    except Exception as error:  # each format has errors of its own; a TypeError asks for a password
        reason = "it has a password" if isinstance(error, TypeError) else first_line(error)
        raise BundleTrustError(f"key file '{path}' holds no {kind} key that can be used: {reason}") from error
    if not isinstance(key, form):
        raise BundleTrustError(f"key file '{path}' holds another kind of key than Ed25519.")
    return key


def _root(bundle: str | Path, key: str | Path) -> Path:
    root = Path(str(bundle)).resolve()
    if not (root / "configs").is_dir():
        raise BundleTrustError(f"no bundle in '{bundle}': it has no folder configs.")
    if Path(str(key)).resolve().is_relative_to(root):
        raise BundleTrustError(
            f"key file '{key}' lies in the bundle, where whoever changes the bundle can change it too: keep it "
            "elsewhere."
        )
    return root


def _sums(root: Path) -> dict[str, str]:
    """The sum of each file by its path in the bundle, but for the signature."""
    found = {}
    with _told(f"'{root}' cannot be read"):
        for path in _files(root):
            name = path.relative_to(root).as_posix()
            if not name.isprintable() or "\\" in name:  # a line break in a name would be a line of the manifest
                raise BundleTrustError(f"the name of {name!r} in '{root}' has characters that cannot be signed.")
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise BundleTrustError(f"'{path}' is a link to '{path.resolve()}', which is not in the bundle.")
            if not path.is_file():  # reading a pipe would wait forever
                raise BundleTrustError(f"'{path}' is no file.")
            if name != SIGNATURE_FILE:
                found[name] = sha256(path)
    return found


def _files(root: Path) -> list[Path]:
    """What is in a folder and in its folders, in the order of the paths."""

    def stop(error: OSError) -> None:
        raise error

    found = []
    for folder, folders, names in os.walk(root, onerror=stop):
        for path in (Path(folder, name) for name in sorted(folders)):
            if path.is_symlink():
                raise BundleTrustError(f"'{path}' is a link to a folder.")
            if path.name == "__pycache__":
                # Python takes what lies there for the source beside it, and can be told not to compare the two
                raise BundleTrustError(
                    f"'{path}' holds compiled Python, which runs in place of the signed source: delete it, and keep it "
                    "away with python -B."
                )
        found += [Path(folder, name) for name in names]
    return sorted(found)


def _manifest(sums: dict[str, str]) -> bytes:
    """What is signed."""
    return (_FIRST_LINE + "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))).encode()


def _parse(manifest: bytes) -> dict[str, str]:
    lines = manifest.decode().removeprefix(_FIRST_LINE).split("\n")[:-1]
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _signed(manifest: bytes, signature: bytes) -> bytes:
    return manifest + _LAST_LINE + base64.b64encode(signature) + b"\n"


def _split(content: bytes, file: Path) -> tuple[bytes, bytes]:
    """What was signed, and the signature; nothing else may be in the file."""
    manifest, _, last = content.rpartition(_LAST_LINE)
    try:
        signature = base64.b64decode(last.removesuffix(b"\n"), validate=True)
    except ValueError:
        signature = b""
    if not manifest.startswith(_FIRST_LINE.encode()) or len(signature) != 64 or content != _signed(manifest, signature):
        raise BundleTrustError(f"'{file}' is no signature of a bundle, or a damaged one.")
    return manifest, signature


def _first_difference(signed: dict[str, str], there: dict[str, str], root: Path, file: Path) -> str:
    for name in sorted(signed.keys() | there.keys()):
        if name not in there:
            return f"'{root / name}' is missing: it was there when the bundle was signed."
        if name not in signed:
            return f"'{root / name}' was added after the bundle was signed."
        if there[name] != signed[name]:
            return f"'{root / name}' was changed after the bundle was signed."
    return f"'{file}' was written by another version of monai-shield."
