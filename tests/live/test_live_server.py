"""The live page's server, asked over HTTP: who may look, at what, and what is said at the door."""

import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from growing import add_tasks, ask, open_run, serving, whole

import tiny
from neoteny import live
from neoteny.errors import UserError
from neoteny.live import handler
from neoteny.live import server as servers


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    whole(folder, 0.5)
    (folder / "secret.txt").write_text("secret")
    return folder


def _state(server, path="/state?open=0", **headers):
    status, _, body = ask(server, path, **headers)
    assert status == 200
    return json.loads(body, parse_constant=pytest.fail)


def test_a_run_is_followed_while_it_goes_on(out, impatient):
    with serving(out) as server, open_run(out, method="l2") as run:
        assert _state(server)["total"]["running"] == 1
        add_tasks(run, 0.25, 0.75)
        (section,) = _state(server)["sections"]
        assert {curve["method"]: curve["mean"] for curve in section["curves"]} == {
            "bp": [0.5],
            "l2": [0.25, 0.75],
        }
        run.finish("failed", "why")
        told = _state(server, "/state")
        assert told["reasons"]["shown"][0] == {
            "folder": "labels/l2/seed-0", "status": "failed", "reason": "why",
        }  # fmt: skip
        assert "curves" not in told["sections"][0]


def test_what_has_not_changed_is_not_sent_again(out):
    with serving(out) as server:
        _, headers, _ = ask(server, "/state")
        status, _, body = ask(server, "/state", If_None_Match=headers["ETag"])
        assert (status, body) == (304, b"")
        assert ask(server, "/state?open=0", If_None_Match=headers["ETag"])[0] == 200


@pytest.mark.parametrize("path", [*handler.FILES, "/state", "/nothing"])
def test_every_answer_tells_the_browser_to_trust_nothing_else(out, path):
    with serving(out) as server:
        _, headers, _ = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "neoteny"
        assert ask(server, path, "HEAD")[2] == b""


PATHS = (
    "/secret.txt", "/../secret.txt", "/labels/bp/seed-0/run.json", "/%2e%2e/secret.txt",
    "//etc/passwd", "/page.css/../../secret.txt", "/templates/page.html", "/report.html",
    "http://[/", "/page.css%00", "/state/", "\\..\\secret.txt",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_file_is_served_but_the_pages_own(out, path):
    with serving(out) as server:
        status, _, body = ask(server, path)
        assert (status, body) == (404, b"Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_nothing_but_reading_is_allowed(out, method):
    with serving(out) as server:
        status, headers, _ = ask(server, "/state", method, body=b"x" if method == "POST" else None)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:80", 200),
        ("localhost:9999", 200),  # at the other end of a tunnel
        ("[::1]:8765", 200),
        ("LOCALHOST", 200),
        ("evil.example:8765", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("", 403),
    ],
)
def test_a_page_is_asked_for_by_this_machines_names_alone(out, host, status):
    with serving(out) as server:
        assert ask(server, "/state", host=host)[0] == status


def test_a_server_that_others_reach_asks_for_its_token(out):
    with serving(out, host="0.0.0.0") as server:
        token = server.door.token
        assert server.url == f"http://{socket.gethostname()}:{server.server_port}/?token={token}"
        for path in ("/", "/state", "/page.js", "/?token=", "/?token=wrong", f"/?token={token}x"):
            assert ask(server, path)[0] == 403
        status, headers, _ = ask(server, f"/?token={token}")
        assert (status, headers["Location"]) == (303, "/")
        cookie, *rules = headers["Set-Cookie"].split("; ")
        assert "HttpOnly" in rules and "SameSite=Lax" in rules
        assert ask(server, "/state", Cookie=f"other=1; {cookie}")[0] == 200
        assert ask(server, "/state", Authorization=f"Bearer {token}")[0] == 200
        for wrong in ({"Cookie": f"{cookie}x"}, {"Authorization": "Bearer é"}, {"Cookie": "a=\\"}):
            assert ask(server, "/state", **wrong)[0] == 403
        assert ask(server, "/state", host="evil.example", Cookie=cookie)[0] == 403
        assert ask(server, "/state", host="10.0.0.1", Cookie=cookie)[0] == 200
    with serving(out, token=True) as server:
        assert ask(server)[0] == 403
    with serving(out) as server:
        assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_many_who_ask_at_once_cause_one_look(out, monkeypatch):
    looks = []
    look = servers.Board._look
    slow = lambda board: looks.append(time.sleep(0.2)) or look(board)
    monkeypatch.setattr(servers.Board, "_look", slow)
    with serving(out) as server, ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: _state(server)["total"]["runs"], range(8)))
    assert (told, len(looks)) == ([1] * 8, 1)


def test_too_many_connections_and_those_that_last_too_long_are_cut_off(out, monkeypatch):
    monkeypatch.setattr(servers, "CONNECTIONS", 2)
    monkeypatch.setattr(servers, "SECONDS", 0.4)
    with serving(out) as server:
        idle = [socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(3)]
        assert idle[2].recv(1) == b""  # one too many
        with pytest.raises(OSError):
            for _ in range(100):  # a header that never ends
                idle[0].sendall(b"G")
                time.sleep(0.05)
        for one in idle:
            one.close()
        deadline = time.monotonic() + 5
        while server._begun and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ask(server)[0] == 200


@pytest.mark.parametrize(
    "request_", [b"GET /\r\n\r\n", b"\x16\x03\x01\xff\r\n", b"GET / HTTP/9\r\n"]
)
def test_what_is_no_request_gets_an_answer_and_hurts_nobody(out, request_):
    with serving(out) as server:
        with socket.create_connection(("127.0.0.1", server.server_port)) as line:
            line.sendall(request_)
            line.shutdown(socket.SHUT_WR)
            assert b"Traceback" not in line.recv(1000)
        assert ask(server)[0] == 200


def test_what_cannot_be_served_is_refused_in_a_sentence(out):
    with serving(out) as server, pytest.raises(UserError, match="already in use"):
        live.serve(out, port=server.server_port)
    for options, words in (
        ({"port": 70_000}, "`--port` is 70000"),
        ({"host": "no.such.name.invalid"}, "is no address of this machine"),
        ({"host": "192.0.2.1"}, "`--host` is 192.0.2.1"),
    ):
        with pytest.raises(UserError, match=words):
            live.serve(out, **options)
    with pytest.raises(UserError, match="is a file"):
        live.serve(out / "secret.txt")


def test_the_command_takes_a_free_port_and_ends_well_when_it_is_interrupted(out, scratch):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = tiny.neoteny(scratch, "watch", out, "--port", taken.getsockname()[1])
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    process = subprocess.Popen(
        tiny.command("watch", out),
        env=tiny.environment(scratch, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline()
        assert said.startswith(f"Watching {out} at http://127.0.0.1:87")
        with socket.create_connection(("127.0.0.1", int(said.split(":")[2].split("/")[0]))):
            os.kill(process.pid, signal.SIGINT)
            assert process.communicate(timeout=20) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
