"""What is remembered of this machine."""

from pathlib import Path

from cascade_lsp.engine import machine


def test_nothing_is_remembered_at_first(tmp_path: Path) -> None:
    assert machine.safe_cause(tmp_path / "none.json", "key") is None


def test_a_cause_is_remembered_per_machine_and_build(tmp_path: Path) -> None:
    path = tmp_path / "state" / "machine.json"
    machine.remember_safe(path, "one", "killed by SIGSEGV")
    machine.remember_safe(path, "two", "killed by SIGILL")
    assert machine.safe_cause(path, "one") == "killed by SIGSEGV"
    assert machine.safe_cause(path, "two") == "killed by SIGILL"
    assert machine.safe_cause(path, "three") is None


def test_a_damaged_memory_is_no_memory_and_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text("[not json")
    assert machine.safe_cause(path, "one") is None
    machine.remember_safe(path, "one", "cause")
    assert machine.safe_cause(path, "one") == "cause"


def test_a_folder_that_cannot_be_written_is_tolerated(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    machine.remember_safe(blocked / "machine.json", "one", "cause")
    assert machine.safe_cause(blocked / "machine.json", "one") is None


def test_the_key_names_the_cpu_and_the_installed_build() -> None:
    assert machine.cpu_name() in machine.build_key()
    assert "llama-cpp-python" in machine.build_key()


def test_the_threads_are_remembered_beside_a_cause(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    assert machine.threads(path, "one") is None
    machine.remember_safe(path, "one", "killed by SIGSEGV")
    machine.remember_threads(path, "one", machine.Threads(write=4, read=8))
    assert machine.threads(path, "one") == machine.Threads(4, 8)
    assert machine.safe_cause(path, "one") == "killed by SIGSEGV"
    assert machine.threads(path, "two") is None
