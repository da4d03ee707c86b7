"""Which names are known to hold secrets: keys, certificates, credentials, version control.

Names alone: no file is opened, and a secret under another name is not known. No model sees what is
named so (`exclusions`), and no program in the sandbox reads it.
"""

import fnmatch
import re
from collections.abc import Iterable
from pathlib import PurePath

# Globs of a file's name, or of its folder's and its own; upper and lower case are the same.
FILES = (
    # environments
    ".env*", "*.env", ".dev.vars", "*.tfvars", "*.tfvars.json", "*.tfstate", "*.tfstate.*",
    # private keys and certificates
    "*.pem", "*.key", "*.ppk", "*.p8", "*.der", "*.crt", "*.cer", "*.csr", "*.p7b", "*.p7c",
    "*.asc", "*.gpg", "*.pgp", "*.age", "*.agekey", "*.keytab", "*.ovpn", "*.mobileprovision",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "ssh_host_*_key*",
    # keystores and password stores
    "*.p12", "*.pfx", "*.jks", "*.keystore", "*.bks", "*.kdb", "*.kdbx", "*.keychain*",
    "*.wallet", "wallet.dat", "*.psafe3", "keystore.properties", "key.properties",
    # credentials of tools and services
    "credentials", "*.credentials", "secret", "secrets", "*.secret", "*.secrets", "secrets.h",
    "arduino_secrets.h", "vault.y*ml", ".vault*", "passwd", "shadow", ".netrc", "_netrc",
    ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf", ".npmrc", ".yarnrc*", ".pypirc",
    ".git-credentials", ".htpasswd", ".htdigest", ".dockercfg", ".docker/config.json",
    ".kube/config", "kubeconfig*", ".s3cfg", ".boto", ".databrickscfg", ".terraformrc",
    "terraform.rc", ".snowsql/config", ".cargo/credentials*", ".m2/settings*.xml", "gh/hosts.yml",
    "gcloud/*.db",
)  # fmt: skip
# Words that say the same of a file of data, but not of code that deals with them.
WORDS = ("*credential*", "secret*", "*_secret*", "*password*", "service[-_]account*")
DATA = (".json", ".toml", ".y*ml*", ".xml", ".ini", ".cfg", ".conf", ".properties", ".csv", ".txt")
# Folders in which, at whatever depth, everything holds secrets.
FOLDERS = frozenset({
    ".aws", ".azure", ".env", ".envs", ".git", ".gnupg", ".hg", ".password-store", ".secrets",
    ".ssh", ".svn",
})  # fmt: skip


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, globs)))


_NAME = _any_of(
    (
        *(one for one in FILES if "/" not in one),
        *(name + suffix for name in WORDS for suffix in DATA),
    )
)
_PLACE = _any_of(one for one in FILES if "/" in one)


def is_folder(name: str) -> bool:
    """Tell whether everything in a folder of this name is secret, or a file in its place is."""
    return name.lower() in FOLDERS


def is_file(path: PurePath) -> bool:
    """Tell whether a file may hold secrets, by its name and that of the folder it lies in."""
    place = "/".join(path.parts[-2:]).lower()
    return bool(_NAME.match(path.name.lower()) or _PLACE.match(place))
