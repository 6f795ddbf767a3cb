"""This machine's settings of pip and apt, for use in a build; used by tools/."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

# Inside the image being built; see image_post.sh.
BORROWED_BUNDLE = "/mnt/ca-bundle.crt"

# What makes apt reach its archive; where the archive is, the base itself knows.
_APT_PREFIXES = (
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Check-Valid-Until ",
    "Acquire::Check-Date ",
    "Acquire::Retries ",
)


def pip_settings() -> dict[str, str]:
    """pip's configuration: files and PIP_* variables together."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    settings: dict[str, str] = {}
    # Sorted, so that a variable (":env:.") wins over a file ("global.").
    for line in sorted(done.stdout.splitlines(), key=lambda line: line[0] == ":"):
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    return settings


def index_addresses(settings: dict[str, str]) -> dict[str, str]:
    """The addresses that can be reached from elsewhere: no file:// and no paths."""
    found = {}
    for name in ("index-url", "extra-index-url"):
        words = settings.get(name, "").replace("\\n", " ").split()
        remote = [word for word in words if word.startswith(("http://", "https://"))]
        if remote:
            found[name] = " ".join(remote)
    return found


def uv_environment() -> dict[str, str]:
    """pip's index for uv, which does not read pip's settings."""
    settings = pip_settings()
    addresses = index_addresses(settings)
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX"}
    environment = {names[name]: value for name, value in addresses.items()}
    if "cert" in settings:
        environment["SSL_CERT_FILE"] = settings["cert"]
    return environment


def certificate_bundle() -> tuple[Path, str] | None:
    """This machine's CA bundle for downloads, and the setting that names it."""
    cert = pip_settings().get("cert")
    if cert:
        return Path(cert), "pip's setting 'cert'"
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return Path(os.environ[name]), f"the variable {name}"
    return None


def pip_script() -> str:
    """pip's index as a shell script, to be sourced in the image being built."""
    settings = pip_settings()
    exports = {
        f"PIP_{name.replace('-', '_').upper()}": value
        for name, value in {
            **index_addresses(settings),
            **{
                name: settings[name]
                for name in ("trusted-host", "proxy", "default-timeout", "retries")
                if name in settings
            },
        }.items()
    }
    proxies = ("http_proxy", "https_proxy", "no_proxy")
    exports.update({name: os.environ[name] for name in proxies if name in os.environ})
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in exports.items()
    )


def apt_configuration(with_bundle: bool) -> str:
    """apt's network settings, as a configuration file for the image being built."""
    lines = []
    if shutil.which("apt-config"):
        command = ["apt-config", "dump"]
        dump = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        lines = [
            line
            for line in dump.stdout.splitlines()
            if line.startswith(_APT_PREFIXES) and not line.endswith(' "";')
        ]
    if with_bundle:
        lines.append(f'Acquire::https::CaInfo "{BORROWED_BUNDLE}";')
    return "".join(f"{line}\n" for line in lines)
