"""`domainlm audit serve` and `sign-in`: the page of a project with its own signer, over a real socket."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from cli.audit.page import _checked_url, _desk, _listen, _record
from cli.main import app
from domainlm.audit.page.challenges import Challenge, Challenges
from domainlm.errors import ConfigurationError, EvidenceRefused, PlaceTaken
from domainlm.ledger import entries
from domainlm.ledger.acts import Read
from domainlm.ledger.trust import bootstrap
from domainlm.ledger.trust.signing import load_key, new_key

runner = CliRunner()


@pytest.mark.parametrize(
    ("host", "port", "public_url", "found"),
    [
        ("127.0.0.1", 8642, "", "http://127.0.0.1:8642"),
        ("::1", 8642, "", "http://[::1]:8642"),
        ("127.0.0.1", 80, "", "http://127.0.0.1"),
        ("0.0.0.0", 8642, "https://Audit.Bank.Example/", "https://audit.bank.example"),
        ("127.0.0.1", 8642, "https://audit.bank.example:443", "https://audit.bank.example"),
        ("127.0.0.1", 8642, "https://audit.bank.example:8443", "https://audit.bank.example:8443"),
    ],
)
def test_the_address_is_as_browsers_state_it(host, port, public_url, found):
    assert _checked_url(host, port, public_url) == found


@pytest.mark.parametrize(
    ("host", "public_url"),
    [("0.0.0.0", ""), ("10.0.0.7", ""), ("127.0.0.1", "http://audit.bank.example"), ("127.0.0.1", "ftp://x"),
     ("127.0.0.1", "https://x/path"), ("127.0.0.1", "https://user@x"), ("127.0.0.1", "audit.bank.example")],
)  # fmt: skip
def test_sessions_travel_no_network_in_clear(host, public_url):
    with pytest.raises(ConfigurationError):
        _checked_url(host, 8642, public_url)


def test_sign_in_answers_with_a_plain_and_with_a_sealed_key(tmp_path):
    challenge = Challenges("http://127.0.0.1:8642", "bank/models").ask("browser")
    for name, passphrase in (("plain", ""), ("sealed", "a long passphrase")):
        path = tmp_path / f"{name}.pem"
        new_key(path, passphrase)
        done = runner.invoke(
            app, ["audit", "sign-in", challenge.text, "--key", str(path)], input=f"{passphrase}\n" if passphrase else ""
        )
        assert done.exit_code == 0, done.output
        assert load_key(path, passphrase).public_key.keyval["public"] in done.stdout
        assert "http://127.0.0.1:8642 (ledger bank/models)" in done.stderr


@pytest.mark.parametrize("change", [{"page": "http://a\x1b[31m"}, {"ledger": "x\ny"}, {"nonce": "z"}, {"time": "now"}])
def test_sign_in_shows_no_control_character_of_a_made_up_question(tmp_path, change):
    challenge = Challenges("http://127.0.0.1:8642", "bank/models").ask("browser")
    new_key(tmp_path / "key.pem")
    hostile = Challenge.model_construct(**(challenge.model_dump() | change))
    done = runner.invoke(app, ["audit", "sign-in", hostile.text, "--key", str(tmp_path / "key.pem")])
    assert done.exit_code != 0 and done.stdout == ""


def test_the_desk_is_the_projects_own_ledger():
    bootstrap.bootstrap()
    desk = _desk()
    assert desk.size() == 1 and desk.verify().verdict == "unanchored"
    _record(
        [
            ("0" * 16, Read(person="anna", page="model", subject="a" * 64)),
            ("1" * 16, Read(person="anna", page="access")),
        ]
    )
    assert desk.size() == 3
    headers = [entries.header(envelope, "x") for _, envelope in desk.entries(1)]
    assert [(header.kind, header.nonce) for header in headers] == [(entries.READ, "0" * 16), (entries.READ, "1" * 16)]
    assert len(desk.checkpoints()) >= 2


def _ask(port, path, host=""):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_page_is_served_and_ends_when_it_is_told_to(home):
    bootstrap.bootstrap()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "audit", "serve", "--port", str(port)],
        env=os.environ | {"DOMAINLM_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        for _ in range(300):
            try:
                status, text = _ask(port, "/sign-in")
                break
            except OSError:
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.1)
        assert status == 200 and "domainlm audit sign-in" in text
        assert _ask(port, "/models")[0] == 303
        assert _ask(port, "/sign-in", "evil.example")[0] == 421
        second = runner.invoke(app, ["audit", "serve", "--port", str(port)])
        assert isinstance(second.exception, PlaceTaken)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert f"http://127.0.0.1:{port}" in output and "Traceback" not in output
    finally:
        process.kill()
        process.wait(timeout=10)


def test_the_desk_verifies_with_the_checkpoints_that_it_is_given(tmp_path):
    bootstrap.bootstrap()
    (tmp_path / "checkpoint.txt").write_text(_desk().checkpoints()[-1], encoding="utf-8")
    assert _desk([str(tmp_path / "checkpoint.txt")]).verify().verdict == "good"


def test_a_page_that_is_started_on_a_broken_ledger_is_served_closed(monkeypatch):
    bootstrap.bootstrap()
    told = []

    class Served:
        def __init__(self, config):
            self.app = config.app

        def run(self, sockets):
            for one in sockets:
                one.close()
            with TestClient(self.app, base_url="http://127.0.0.1:8642", follow_redirects=False) as client:
                told.append((client.get("/sign-in").status_code, client.get("/sign-in").text))

    def unbelieved(self):
        raise EvidenceRefused("was changed by hand", "entry 0", "", "edited")

    monkeypatch.setattr("uvicorn.Server", Served)
    monkeypatch.setattr("cli.audit.page._listen", lambda host, port: socket.socket())
    monkeypatch.setattr("domainlm.audit.page.book.Book.refresh", unbelieved)
    done = runner.invoke(app, ["audit", "serve"])
    assert done.exit_code == 0 and "shows no evidence" in done.stderr
    ((status, text),) = told
    assert status == 503 and "was changed by hand" in text and "KEY.pem" not in text


def test_a_port_that_is_taken_is_named():
    bootstrap.bootstrap()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match="cannot listen"):
            _listen("127.0.0.1", port)
    _listen("127.0.0.1", port).close()


def test_help_does_not_load_the_page():
    code = "import sys; import cli.main; print([n for n in ('starlette', 'uvicorn', 'jinja2') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
