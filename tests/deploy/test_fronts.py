"""The examples of proxies with TLS work as they are, but for names and ports: run by the real programs, where installed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from tests.support.broker_process import RunningBroker
from tests.support.waiting import PATIENCE_S
from wonderq.auth import keys
from wonderq_storage.nats.local_servers import free_ports

NODE = shutil.which("node")
SCRIPTS = Path(__file__).parents[1] / "clients" / "node"
DEPLOY = Path(__file__).parents[2] / "tools" / "deploy"


def changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old!r} any more"
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, broker: str, certificate: Path, key: Path) -> list[str]:
    changes = {
        "127.0.0.1:7979": broker,
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/wonderq.example.com.pem": str(certificate),
        "/etc/ssl/private/wonderq.example.com.key": str(key),
    }
    (folder / "wonderq.conf").write_text(changed((DEPLOY / "nginx.conf").read_text(), changes))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in kinds)
    user = "user root;\n" if os.getuid() == 0 else ""
    main = f"{user}daemon off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{main}http {{\naccess_log off;\n{folders}include {folder}/wonderq.conf;\n}}\n")
    return ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]


def caddy(folder: Path, port: int, broker: str, certificate: Path, key: Path) -> list[str]:
    site = f"https://localhost:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
    text = changed(
        (DEPLOY / "Caddyfile").read_text(), {"127.0.0.1:7979": broker, "\nwonderq.example.com {": f"\n{site}"}
    )
    (folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tauto_https off\n\tservers {{\n\t\tprotocols h1 h2\n\t}}\n}}\n{text}"
    )
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


Front = Callable[[Path, int, str, Path, Path], list[str]]


class Proxied:
    """Calls a broker over a front."""

    def __init__(self, port: int, key: str, signer: keys.Key, certificate: Path, log: Path) -> None:
        self.url = f"https://localhost:{port}"
        self.environment = {
            **os.environ,
            "AWS_ENDPOINT_URL_SQS": self.url,
            "AWS_ACCESS_KEY_ID": signer.access_key_id,
            "AWS_SECRET_ACCESS_KEY": str(signer.sqs_secret),
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(certificate),
            "NODE_EXTRA_CA_CERTS": str(certificate),
        }
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}"}
        self._log = log
        self._trusting = ssl.create_default_context()
        self._trusting.check_hostname = False
        self._trusting.verify_mode = ssl.CERT_NONE

    def __call__(self, method: str, path: str, body: Any = None, *, keyed: bool = True) -> tuple[int, Any]:
        connection = http.client.HTTPSConnection("localhost", self._port, timeout=PATIENCE_S, context=self._trusting)
        try:
            headers = (self._headers if keyed else {}) | ({} if body is None else {"Content-Type": "application/json"})
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith((b"{", b"[")) else content
        finally:
            connection.close()

    def wait_until_it_answers(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self("GET", "/healthz", keyed=False)[0] == 200:
                    return
            except OSError:
                pass
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxied]:
    front: Front = request.param
    for program in (front.__name__, "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {program}")
    certificate, key_file = tmp_path / "certificate.pem", tmp_path / "certificate.key"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    openssl += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*openssl, "-keyout", key_file, "-out", certificate], check=True, capture_output=True)
    data = tmp_path / "data"
    data.mkdir()
    signer, secret = keys.create(data / "keys.json", name="tests", roles=["admin"], queues=["*"], for_sqs=True)
    (port,) = free_ports(1)
    with RunningBroker(data) as broker:
        command = front(tmp_path, port, urlsplit(broker.url).netloc, certificate, key_file)
        log = tmp_path / "front.log"
        with log.open("wb") as output:
            home = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
            process = subprocess.Popen(command, stdout=output, stderr=output, env=home)
        try:
            calls = Proxied(port, secret, signer, certificate, log)
            calls.wait_until_it_answers()
            yield calls
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_everything_gets_through(proxied: Proxied) -> None:
    status, refusal = proxied("GET", "/queues", keyed=False)
    assert (status, refusal["error"]["code"]) == (401, "unauthorized")

    status, produced = proxied("POST", "/messages/produce", {"message": "over TLS"})
    assert status == 201
    status, [message] = proxied("POST", "/messages/consume", {"max": 1})
    assert (status, message["message"]) == (200, "over TLS")
    assert proxied("UPDATE", f"/messages/{produced['id']}", {"receipt": message["receipt"]}) == (200, {"success": True})
    assert proxied("DELETE", f"/messages/{produced['id']}", {"receipt": message["receipt"]})[0] == 200

    # Longer than the usual limits of proxies: waiting, a large body, a large answer.
    late = threading.Timer(3, lambda: proxied("POST", "/messages/produce", {"message": "late"}))
    late.start()
    status, [message] = proxied("POST", "/messages/consume", {"wait": 20})
    assert (status, message["message"]) == (200, "late")
    late.join()

    bodies = [f"{number}".ljust(1 << 20, "x") for number in range(15)]
    status, produced = proxied("POST", "/queues/large/messages/produce", {"messages": bodies})
    assert (status, len(produced["ids"])) == (201, 15)
    status, listed = proxied("GET", "/queues/large/dev/messages")
    assert [each["message"] for each in listed] == bodies
    assert proxied("POST", "/queues/large/purge") == (200, {"success": True, "deleted": 15})


def test_urls_of_queues_lead_back_to_the_front(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in proxied.environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("sqs")
    url = client.create_queue(QueueName="jobs")["QueueUrl"]
    assert url == f"{proxied.url}/000000000000/jobs"
    client.send_message(QueueUrl=url, MessageBody="x")
    assert client.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "x"


@pytest.mark.skipif(
    NODE is None or not (SCRIPTS / "node_modules").is_dir(),
    reason="there is no Node.js, or its packages are not installed: make clients",
)
def test_the_sdks_for_javascript_send_to_the_urls_of_queues(proxied: Proxied) -> None:
    command = [str(NODE), str(SCRIPTS / "tls.mjs")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=proxied.environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "url": f"{proxied.url}/000000000000/by-tls",
        "v3": "v3",
        "v2": "v2",
        "refused": "QueueDoesNotExist",
    }
