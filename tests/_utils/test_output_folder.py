"""Output folders: claimed by one process at a time; foreign files are never removed."""

from dataclasses import replace
from pathlib import Path

import pytest

from frostline._utils.manifest import MANIFEST, read_manifest, write_manifest
from frostline._utils.output_folder import Output, OutputFolder, check_mode, remove_files, remove_parts
from frostline.errors import ConfigError, RunError

NAMES = ("points.jsonl", "model/model.json", "log.txt")
ELSEWHERE = "choose another --name"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete folder with two files."""
    place = tmp_path / "mine"
    (place / "model").mkdir(parents=True)
    (place / "points.jsonl").write_bytes(b"1\n")
    (place / "model/model.json").write_bytes(b"{}")
    write_manifest(place, "curve", NAMES, complete=True)
    return place


def output(folder: Path) -> OutputFolder:
    return OutputFolder("curve 'mine'", ELSEWHERE, folder, "curve", NAMES)


def claiming(folder: Path):
    return output(folder).claim()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_new_folder_is_marked_and_claimed_by_one_process(tmp_path):
    with claiming(tmp_path / "mine"):
        assert not read_manifest(tmp_path / "mine").complete
        with pytest.raises(RunError, match="another process is writing curve 'mine'"), claiming(tmp_path / "mine"):
            pass
    with claiming(tmp_path / "mine"):
        pass


def test_failed_start_removes_only_its_own_files(tmp_path):
    with pytest.raises(KeyError), claiming(tmp_path / "mine"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()  # by someone else
    with pytest.raises(KeyError), claiming(tmp_path / "mine"):
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
    with pytest.raises(KeyError), claiming(tmp_path / "mine"):
        (tmp_path / "mine/thesis.txt").write_text("put there meanwhile")
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine", tmp_path / "mine/thesis.txt"]


def test_failed_start_does_not_change_an_existing_folder(folder):
    before = everything(folder)
    with pytest.raises(KeyError), claiming(folder):
        raise KeyError
    assert everything(folder) == before


def test_kept_files_remain_after_a_failure(tmp_path):
    with pytest.raises(KeyError), claiming(tmp_path / "mine") as claim:
        claim.keep()
        raise KeyError
    assert read_manifest(tmp_path / "mine") is not None


@pytest.mark.parametrize("name", ["thesis.txt", "model/thesis.txt", "log.txt", ".hidden", "lock", "points.jsonl"])
def test_folder_with_foreign_files_is_refused(tmp_path, name):
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(RunError, match="exists and is not a curve"), claiming(tmp_path / "mine"):
        pass
    assert everything(tmp_path / "mine") == {name: b"years of work"}


def test_manifest_of_another_program_is_refused(tmp_path):
    (tmp_path / MANIFEST).write_text('{"name": "a web page", "icons": []}')
    with pytest.raises(RunError, match=r"manifest\.json is damaged"), claiming(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / MANIFEST]


def test_folder_of_another_kind_is_refused(folder):
    with pytest.raises(RunError, match="contains a curve, not a run"):
        replace(output(folder), kind="run").check()


def test_killed_start_does_not_block_the_name(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / f".{MANIFEST}.0a1b2c3d.part").write_bytes(b"{")
    with claiming(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"lock", MANIFEST}


@pytest.mark.parametrize("name", ["points.jsonl", "log.txt", "lock", "model"])
def test_link_inside_an_output_folder_is_refused(folder, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if name == "model":
        (folder / name).rename(elsewhere)
    else:
        (folder / name).unlink(missing_ok=True)
        elsewhere.write_text("precious")
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match=f"{name} is a symbolic link"), claiming(folder):
        pass
    assert elsewhere.exists()
    remove_files(folder, NAMES)
    assert (folder / name).is_symlink()
    assert elsewhere.is_file() or everything(elsewhere) == {"model.json": b"{}"}


def test_linked_folder_is_accepted(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with claiming(tmp_path / "link"):
        assert read_manifest(tmp_path / "link").read("points.jsonl") == b"1\n"


def test_only_listed_files_and_empty_folders_are_removed(folder):
    (folder / "model/thesis.txt").write_text("years of work")
    (folder / "log.txt").mkdir()
    (folder / "log.txt/inside.txt").write_text("more work")
    remove_files(folder, NAMES)
    assert everything(folder).keys() == {MANIFEST, "model/thesis.txt", "log.txt/inside.txt"}
    (folder / "model/thesis.txt").unlink()
    remove_files(folder, NAMES)
    assert not (folder / "model").exists()


def test_only_own_temporary_files_are_removed(folder):
    ours = [folder / ".points.jsonl.0a1b2c3d.part", folder / "model/.model.json.0a1b2c3d.part"]
    others = [folder / ".thesis.txt.0a1b2c3d.part", folder / ".points.jsonl.mine.part", folder / "model/.x.part"]
    for path in (*ours, *others):
        path.write_bytes(b"half")
    remove_parts(folder, NAMES)
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)


def test_failed_start_restores_the_manifest(tmp_path):
    place = tmp_path / "mine"
    with claiming(place) as claim:
        claim.keep()
    before = everything(place)
    with pytest.raises(KeyError), claiming(place) as claim:
        claim.will_write("points.jsonl")
        (place / "points.jsonl").write_bytes(b"1\n")
        write_manifest(place, "curve", NAMES)
        raise KeyError
    assert everything(place) == before


def test_failed_start_that_replaced_files_keeps_a_manifest_of_the_new_ones(folder):
    with pytest.raises(KeyError), claiming(folder) as claim:
        claim.will_write(*NAMES)
        remove_files(folder, NAMES)
        (folder / "points.jsonl").write_bytes(b"2\n")
        write_manifest(folder, "curve", NAMES)
        raise KeyError
    manifest = read_manifest(folder)
    assert list(manifest.files) == ["points.jsonl"]
    assert manifest.read("points.jsonl") == b"2\n"


def test_files_that_existed_before_are_not_removed(folder):
    with pytest.raises(KeyError), claiming(folder) as claim:
        claim.will_write(*NAMES)
        assert claim.made == {"log.txt", "lock"}
        (folder / "log.txt").write_text("a line")
        raise KeyError
    assert set(everything(folder)) == {"points.jsonl", "model/model.json", MANIFEST}


def test_folder_that_changes_before_it_is_locked_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "mine"
    check, checks = OutputFolder.check, []

    def checked(self: OutputFolder) -> None:
        check(self)
        if not checks:
            place.mkdir()
            (place / "thesis.txt").write_text("years of work")
        checks.append(self)

    monkeypatch.setattr(OutputFolder, "check", checked)
    with pytest.raises(RunError, match=r"exists and is not a curve \(it contains thesis\.txt\)"), claiming(place):
        pass
    assert everything(place) == {"thesis.txt": b"years of work"}


def test_error_for_existing_output_names_the_options():
    run = Output("run 'mine'", ELSEWHERE)
    assert str(run.exists_error("finished")) == (
        "run 'mine' exists (finished): choose another --name, --resume to continue it, or --overwrite to replace it."
    )
    assert str(run.exists_error(can_resume=False)) == (
        "run 'mine' exists: choose another --name, or --overwrite to replace it."
    )


def test_changed_setting_is_named_with_both_values():
    run = Output("run 'mine'", ELSEWHERE)
    run.check_same({"lr": 0.1, "seed": 0}, {"lr": 0.1})
    with pytest.raises(RunError) as caught:
        run.check_same({"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": 1})
    assert str(caught.value) == (
        "run 'mine' was started with seed = 0, not 1: use the same value to resume, choose another --name, "
        "or --overwrite to replace it."
    )


def test_overwriting_and_resuming_at_once_is_refused():
    check_mode(overwrite=True, resume=False)
    check_mode(overwrite=False, resume=True)
    with pytest.raises(ConfigError, match="use one of the two"):
        check_mode(overwrite=True, resume=True)
