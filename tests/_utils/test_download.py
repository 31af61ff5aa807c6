"""Downloads from real servers on 127.0.0.1: complete and verified, or no file at all."""

import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from frostline._utils.download import addresses, download, offline
from frostline.errors import DownloadError
from tests.conftest import Server

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """Run a server that reads a request, sends these bytes and closes the connection; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed: the test is over
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def closed_port() -> str:
    """Return a local address without a server."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


class Recorded:
    """A progress display that records its calls."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int, str]] = []
        self.advanced: list[int] = []
        self.closed = 0

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator["Recorded"]:
        self.bars.append((label, total, unit))
        try:
            yield self
        finally:
            self.closed += 1

    def advance(self, amount: int) -> None:
        self.advanced.append(amount)

    def note(self, text: str) -> None:
        raise AssertionError(f"a download has nothing to note: {text}")


@pytest.fixture
def official(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as if it were the official address, no mirror."""
    monkeypatch.delenv("FROSTLINE_MIRROR")
    return server


def test_file_is_downloaded_into_a_new_folder(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT)
    target = tmp_path / "new" / "file.bin"
    assert download([f"{official.address}/file.bin"], target, algorithm="md5", digest_head=MD5) == target
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_prefix_of_a_sha256_is_enough(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT)
    target = tmp_path / "file.bin"
    download([f"{official.address}/file.bin"], target, algorithm="sha256", digest_head=SHA256[:8])
    assert target.read_bytes() == CONTENT


def test_next_address_is_tried(official: Server, tmp_path: Path) -> None:
    (official.folder / "good.bin").write_bytes(CONTENT)
    urls = [f"{official.address}/{name}.bin" for name in ("gone", "good", "never-asked")]
    download(urls, tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert official.asked == ["/gone.bin", "/good.bin"]


def test_wrong_checksum_is_refused_and_no_file_is_left(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT[:-1] + b"?")
    found = hashlib.md5(CONTENT[:-1] + b"?").hexdigest()
    url = f"{official.address}/file.bin"
    with pytest.raises(DownloadError) as refused:
        download([url], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
    assert str(refused.value) == (
        f"file.bin could not be downloaded ({url}: sent a file with md5 {found}, expected {MD5}). Try again later, "
        f"set FROSTLINE_MIRROR to a base address that has it, or place the file at {tmp_path / 'file.bin'}."
    )
    assert list(tmp_path.iterdir()) == []


def test_refused_download_keeps_the_existing_file(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(b"something else")
    (tmp_path / "file.bin").write_bytes(b"old")
    with pytest.raises(DownloadError):
        download([f"{official.address}/file.bin"], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
    assert (tmp_path / "file.bin").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file.bin"]


@pytest.mark.parametrize("sent", [0, 1000, 200_000])
def test_lost_connection_is_named_and_the_next_address_tried(official: Server, tmp_path: Path, sent: int) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT)
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT[:sent]
    with raw_server(answer) as broken:
        with pytest.raises(DownloadError, match=rf"\({broken}/file.bin: connection lost\)"):
            download([f"{broken}/file.bin"], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
        assert list(tmp_path.iterdir()) == []
        urls = [f"{broken}/file.bin", f"{official.address}/file.bin"]
        download(urls, tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_server_without_content_length(official: Server, tmp_path: Path) -> None:
    with raw_server(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT) as server:
        download([f"{server}/file.bin"], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_every_failure_is_in_the_message(official: Server, tmp_path: Path) -> None:
    nobody = closed_port()
    urls = [f"{nobody}/file.bin", f"{official.address}/file.bin", "file.bin"]
    with raw_server(b"nonsense\r\n\r\n") as strange, pytest.raises(DownloadError) as refused:
        download([*urls, f"{strange}/file.bin"], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)
    message = str(refused.value)
    assert f"{nobody}/file.bin: not reachable" in message
    assert f"{official.address}/file.bin: answered 404" in message
    assert "file.bin: not an HTTP address" in message
    assert f"{strange}/file.bin: " in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_server_error_is_named(official: Server, tmp_path: Path) -> None:
    with (
        raw_server(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as busy,
        pytest.raises(DownloadError, match="answered 503"),
    ):
        download([f"{busy}/file.bin"], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)


def test_invalid_certificate_is_named(official: Server, tmp_path: Path) -> None:
    url = official.address.replace("http:", "https:") + "/file.bin"  # plain HTTP answers the TLS greeting
    with pytest.raises(DownloadError, match=f"{url}: its certificate was not accepted"):
        download([url], tmp_path / "file.bin", algorithm="md5", digest_head=MD5)


def test_offline_makes_no_request(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (server.folder / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("FROSTLINE_OFFLINE", "1")
    target = tmp_path / "file.bin"
    with pytest.raises(DownloadError) as refused:
        download([f"{server.address}/file.bin"], target, algorithm="md5", digest_head=MD5)
    assert str(refused.value) == (
        f"file.bin is not here and FROSTLINE_OFFLINE forbids downloading it: unset it, or place the file at {target}."
    )
    assert server.asked == []
    assert not target.exists()


@pytest.mark.parametrize(("value", "means"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_offline_is_any_value_but_empty_and_zero(value: str, means: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_OFFLINE", value)
    assert offline() is means


def test_mirror_replaces_the_official_addresses(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server.folder / "deep").mkdir()
    (server.folder / "deep" / "file.bin").write_bytes(CONTENT)
    monkeypatch.setenv("FROSTLINE_MIRROR", f"{server.address}/deep/")
    download(["http://official.invalid/a/file.bin"], tmp_path / "x", algorithm="md5", digest_head=MD5)
    assert server.asked == ["/deep/file.bin"]
    assert addresses(["http://one/a/f", "http://two/f"]) == [f"{server.address}/deep/f"]
    monkeypatch.delenv("FROSTLINE_MIRROR")
    assert addresses(["http://one/a/f", "http://two/f"]) == ["http://one/a/f", "http://two/f"]


def test_progress_advances_to_the_total_exactly_once(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT)
    shown = Recorded()
    url = f"{official.address}/file.bin"
    download([url], tmp_path / "file.bin", algorithm="md5", digest_head=MD5, progress=shown)
    assert shown.bars == [("downloading file.bin", len(CONTENT), "B")]
    assert sum(shown.advanced) == len(CONTENT)
    assert len(shown.advanced) > 1
    assert shown.closed == 1


def test_each_attempt_has_its_own_bar(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT)
    shown = Recorded()
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode() + CONTENT[:150_000]
    with raw_server(answer) as broken:
        urls = [f"{broken}/file.bin", f"{official.address}/file.bin"]
        download(urls, tmp_path / "file.bin", algorithm="md5", digest_head=MD5, progress=shown)
    assert len(shown.bars) == shown.closed == 2
    assert len(CONTENT) < sum(shown.advanced) <= len(CONTENT) + 150_000


FULL = """
import resource, sys
from pathlib import Path
from frostline._utils.download import download
from frostline.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    download([sys.argv[1]], Path(sys.argv[2]), algorithm="md5", digest_head=sys.argv[3])
except StorageError as error:
    print(error)
"""


def test_full_disk_is_reported_and_no_file_is_left(official: Server, tmp_path: Path) -> None:
    (official.folder / "file.bin").write_bytes(CONTENT)
    arguments = [f"{official.address}/file.bin", tmp_path / "file.bin", MD5]
    done = subprocess.run([sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot use {tmp_path / 'file.bin'}: the file would be larger")
    assert list(tmp_path.iterdir()) == []
