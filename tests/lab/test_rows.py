"""Rows survive a writer that ends at any byte, and a bad line is named."""

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_lsp.errors import UsageError
from cascade_lsp.lab.rows import Row, Rows, read

FIRST: Row = {"problem": "a/1", "text": "über\nzwei"}
SECOND: Row = {"problem": "a/2", "text": "", "k": [1, None, {"x": 0.5}]}


def written(path: Path, *rows: Row) -> Path:
    with Rows(path) as out:
        for row in rows:
            out.add(row)
    return path


def test_rows_are_appended_and_those_that_were_there_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "new" / "rows.jsonl", FIRST)
    with Rows(path) as out:
        assert out.had == [FIRST]
        out.add(SECOND)
        assert out.had == [FIRST]
    assert list(read(path)) == [FIRST, SECOND]


def test_a_row_can_be_read_as_soon_as_it_is_added(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Rows(path) as out:
        out.add(FIRST)
        assert list(read(path)) == [FIRST]


def test_text_is_kept_as_it_is_written(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", FIRST)
    assert path.read_text(encoding="utf-8") == '{"problem": "a/1", "text": "über\\nzwei"}\n'


WHOLE = (json.dumps(FIRST, ensure_ascii=False) + "\n").encode()
CUT = [
    b"{",
    b'{"problem": "a/2", "te',
    b'{"problem": "a/2"}',  # whole, but its line was not ended
    '{"text": "ü'.encode()[:-1],  # within a letter
]


@pytest.mark.parametrize("rest", CUT)
def test_a_last_line_that_was_cut_off_is_dropped_and_not_repeated(
    rest: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE + rest)
    with Rows(path) as out:
        assert out.had == [FIRST]
        out.add(SECOND)
    assert list(read(path)) == [FIRST, SECOND]
    assert len(path.read_bytes().splitlines()) == 2


def test_only_a_cut_off_line_leaves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"problem')
    with Rows(path) as out:
        assert out.had == []
    assert path.read_bytes() == b""


def test_what_is_only_read_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE + b'{"problem": "a')
    assert list(read(path)) == [FIRST]
    assert path.read_bytes() == WHOLE + b'{"problem": "a'


def test_a_last_row_without_a_line_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE + WHOLE.rstrip())
    assert list(read(path)) == [FIRST, FIRST]


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n" + WHOLE + b"  \n\n")
    assert list(read(path)) == [FIRST]


def test_rows_are_not_added_to_a_compressed_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Name a \.jsonl file"):
        Rows(tmp_path / "rows.jsonl.gz")
    assert not list(tmp_path.iterdir())


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(WHOLE + WHOLE))
    assert list(read(path)) == [FIRST, FIRST]


BAD = [
    (b'{"a": 1\n', r"rows\.jsonl:2 is not JSON: .*Remove that line\."),
    (b"[1, 2]\n", r"rows\.jsonl:2 is not a JSON object\. Remove that line\."),
    (b'"text"\n', r"rows\.jsonl:2 is not a JSON object\. Remove that line\."),
    (b'{"a": "\xff"}\n', r"rows\.jsonl is damaged: .*Fetch or write it again\."),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=["json", "list", "text", "bytes"])
def test_a_bad_line_is_named_with_its_number(line: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(WHOLE + line + WHOLE)
    with pytest.raises(UsageError, match=said):
        list(read(path))
    with pytest.raises(UsageError, match=said):
        Rows(path)
    assert path.read_bytes() == WHOLE + line + WHOLE


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.jsonl cannot be read: No such file"):
        list(read(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("data", "said"),
    [(gzip.compress(WHOLE * 9)[:-12], "is damaged"), (WHOLE, "cannot be read: Not a gzipped")],
    ids=["cut", "plain"],
)
def test_a_compressed_file_that_is_damaged_is_named(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=said):
        list(read(path))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=5)


@given(OBJECTS, st.data())
def test_whatever_the_byte_at_which_a_writer_ends_whole_rows_stay(
    rows: list[Row], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder, "rows.jsonl"), *rows)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:at])
        kept = rows[: whole[:at].count(b"\n")]
        with Rows(path) as out:
            assert out.had == kept
            out.add(SECOND)
        assert list(read(path)) == [*kept, SECOND]
        with Rows(path) as out:
            assert out.had == [*kept, SECOND]
