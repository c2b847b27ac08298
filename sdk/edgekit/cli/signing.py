"""`edgekit bundle keygen|sign|verify`: who made a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.bundles import Bundle_, Json_

app = typer.Typer(help="Sign bundles, and check who signed them.", no_args_is_help=True)


@app.command("keygen")
def keygen_command(
    name: Annotated[Path, typer.Argument(help="name of the two files, without suffix")],
    json: Json_ = False,
) -> None:
    """Make a pair of Ed25519 keys: NAME.key signs and stays here, NAME.pub is pinned on devices."""
    from edgekit.cli.show import console, print_json
    from edgekit.signing import make_keys

    secret, public, key = make_keys(name)
    if json:
        print_json({"private": str(secret), "public": str(public), "key": key.id})
        return
    out = console(False)
    out.print(f"{secret} signs bundles: keep it safe, and off the devices", markup=False, soft_wrap=True)
    out.print(f"{public} is what devices pin; key {key.id}", markup=False, soft_wrap=True)


@app.command("sign")
def sign_command(
    bundle: Bundle_,
    key: Annotated[Path, typer.Option(help="private key, as keygen makes it")],
    json: Json_ = False,
) -> None:
    """Write BUNDLE.sig beside a bundle, over its digest."""
    from edgekit.cli.show import console, print_json
    from edgekit.signing import sign
    from edgekit_runtime.signing import signature_path

    made = sign(bundle, key)
    if json:
        print_json({"signature": str(signature_path(bundle)), "digest": made.digest, "key": made.key})
        return
    console(False).print(
        f"{signature_path(bundle)}: bundle {made.digest[:16]} by key {made.key}", markup=False, soft_wrap=True
    )


@app.command("verify")
def verify_command(
    bundle: Bundle_,
    key: Annotated[list[Path], typer.Option(help="public key that may have signed; several may be given")],
    json: Json_ = False,
) -> None:
    """Check every member's hash, and that one of the keys signed; exit 1 otherwise."""
    from edgekit.cli.show import console, print_json
    from edgekit_runtime import Bundle
    from edgekit_runtime.signing import check_bundle, pinned_keys

    keys = pinned_keys(key)
    with Bundle.open(bundle) as opened:
        opened.verify()
        digest, members = opened.digest, len(opened.manifest.files)
    signer = check_bundle(bundle, digest, keys)
    if json:
        print_json({"digest": digest, "key": signer.id, "members": members})
        return
    console(False).print(
        f"{bundle}: {members} members as the manifest says, signed by key {signer.id}", markup=False, soft_wrap=True
    )
