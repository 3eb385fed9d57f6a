"""Real servers on this computer for notices to arrive at, and certificates for them."""

from __future__ import annotations

import datetime
import json
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from autoscope.clock import SystemClock
from tests.smoke import free_ports


class Received:
    """What a server has been sent, and how it answers."""

    def __init__(self):
        self.posts, self.status, self.arrived, self.drip = [], 200, threading.Condition(), None

    def wait_for(self, count, limit_s=30.0):
        """Return what arrived, once it is so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.posts) >= count, limit_s), self.posts
            return list(self.posts)


@contextmanager
def web_server(tls=None):
    """Yield the address of a server and what it receives; ``drip``: an event until which it sends a byte at a time."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with received.arrived:
                received.posts.append((dict(self.headers), body, self.path))
                received.arrived.notify_all()
            if received.drip is not None:
                while not received.drip.wait(0.05):
                    self.wfile.write(b"H")
                return
            self.send_response(received.status)
            if received.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # whoever hangs up
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/hook/secret", received
    finally:
        if received.drip is not None:
            received.drip.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Mailbox:
    """Keeps what a mail server takes."""

    def __init__(self):
        self.mails, self.refuse = [], ""

    async def handle_RCPT(self, server, session, envelope, address, options):
        """Take a recipient, or not."""
        if address == self.refuse:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        """Take a mail."""
        self.mails.append((envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content, _is_encrypted(server)))
        return "250 OK"


def _is_encrypted(server):
    return server.transport.get_extra_info("sslcontext") is not None


@contextmanager
def mail_server(tls=None, password=None, whole_tls=False):
    """Yield the port of a mail server and its mailbox; with STARTTLS, or TLS from the start."""
    mailbox = Mailbox()

    def judge(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"scope", password.encode()), handled=False)

    asked = {"authenticator": judge, "auth_required": True, "auth_require_tls": tls is not None} if password else {}
    given = {"ssl_context": tls} if whole_tls else {"tls_context": tls}
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_ports(1), **given, **asked)
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()


def certificate(folder):
    """Write a certificate of an authority of our own for 127.0.0.1; return the server's side and the file to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.fromisoformat(SystemClock().wall())
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, secret)
    return context, cert


def of_body(post):
    """Return the body of a post."""
    return json.loads(post[1])
