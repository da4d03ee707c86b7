"""Lines that hold secrets are found by what they look like."""

import re
from pathlib import Path

import pytest

import cascade_lsp
from cascade_lsp.redaction import kind_of, withhold

SECRETS = [
    'aws = "AKIAIOSFODNN7EXAMPLE"',
    'password = "hunter2!x"',
    'password = "hunter2!x"  # pragma: allowlist secret',
    'token = "sk-proj-abcdefghijklmnopqrstuvwxyz123456"',
    'url = "https://user:pa55word@host.example/x"',
    "-----BEGIN RSA PRIVATE KEY-----",
    'ghp = "ghp_012345678901234567890123456789012345"',
    'jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9Pl"',
    'conn = "postgres://u:p@h/db"',
    "API_TOKEN=s3cr3tvalue99",
    "export DB_PASSWORD=c0rrecthorse",
    "db_password: c0rrecthorse",
]
CODE = [
    'api_key = os.environ["X"]',
    "x = compute(a, b)",
    'def tokenize(text): return text.split("abcdefghijklmnop")',
    'ident = "123e4567-e89b-12d3-a456-426614174000"',
    "self.token = token",
    "key: str",
    "key = sorted(items)[0]",
    "password: SecretStr = field(default=None)",
    "for token in tokens:",
    "PASSWORD_LENGTH = 12",
    "",
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_is_recognised(line):
    assert kind_of(line)
    kept, withheld = withhold(f"a = 1\n{line}\nb = 2\n")
    assert line not in kept and "a = 1\n" in kept and sum(withheld.values()) >= 1


@pytest.mark.parametrize("line", CODE)
def test_code_that_only_speaks_of_secrets_stays(line):
    assert withhold(f"{line}\n") == (f"{line}\n", {})


def test_the_whole_of_a_private_key_is_withheld_and_what_follows_stays():
    text = "a = 1\n-----BEGIN PRIVATE KEY-----\nMIIB\nx\n-----END PRIVATE KEY-----\nb = 2\n"
    assert withhold(text) == ("a = 1\nb = 2\n", {"Private Key": 4})


def test_a_private_key_without_an_end_withholds_all_that_follows():
    assert withhold("-----BEGIN PRIVATE KEY-----\nMIIB\nx")[0] == ""


def test_hardly_a_line_of_ordinary_code_is_withheld():
    lines = "".join(file.read_text() for file in Path(cascade_lsp.__path__[0]).rglob("*.py"))
    _, withheld = withhold(lines)
    assert sum(withheld.values()) <= len(re.findall("\n", lines)) / 1000
