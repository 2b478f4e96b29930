"""A file is written whole or not at all, and what cannot be written is known beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from taut.errors import UsageError
from taut.replay.files import check_writable, write_whole


def test_a_file_is_written_with_its_folders_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.json", b"1")
    assert [each.name for each in (tmp_path / "a").iterdir()] == ["b.json"]


def test_a_write_that_fails_keeps_what_was_there_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    path.write_text("before")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"cannot write .*a\.json: No space left on device"):
        write_whole(path, b"1")
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "before"


def test_what_can_be_written_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep" / "a.json", "--json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "file/a.json", "x" * 300, "/proc/a.json"])
def test_what_cannot_be_written_is_refused_beforehand(place: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--json .* is a folder|cannot write") as error:
        check_writable(tmp_path / place, "--json")
    assert "unfinished" not in str(error.value)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to("real.json")
    write_whole(tmp_path / "link.json", b"1")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_bytes() == b"1"


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(UsageError, match="--out /dev/null is no regular file"):
        check_writable(Path("/dev/null"), "--out")
