"""Servers that speak instamatic's wire: one that keeps to a recorded session, and one that does what a test says."""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading


@contextlib.contextmanager
def serving(answer):
    """Serve ``answer(call) -> bytes`` to every connection, a thread each; yield port and the calls seen."""
    listener, calls = socket.create_server(("127.0.0.1", 0)), []

    def handle(line):
        with line, contextlib.suppress(OSError):
            while data := line.recv(1024):
                calls.append(json.loads(data))
                line.sendall(answer(calls[-1]))

    def accept():
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                threading.Thread(target=handle, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], calls
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Recorded:
    """Answers as the recorded server did, and refuses any call that differs from the recorded one."""

    def __init__(self, exchanges):
        self.left = list(exchanges)

    def __call__(self, call):
        expected, reply = self.left.pop(0)
        assert call == expected, f"recorded {expected}, got {call}"
        return json.dumps(reply).encode()


def packages_of(python):
    """Return where another Python keeps instamatic."""
    code = "import importlib.util; print(importlib.util.find_spec('instamatic').submodule_search_locations[0])"
    return pathlib.Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def own_python():
    """Return a Python that has instamatic: the one named in the environment, or this one; None if neither has."""
    if named := os.environ.get("AUTOSCOPE_INSTAMATIC_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("instamatic") else None


@contextlib.contextmanager
def simulated_jeol(python, folder, port):
    """Run instamatic's own TEM server with its simulated JEOL, speaking JSON on the loopback interface.

    Its first import writes its settings, opens them with a function that only Windows has, and ends: so they are laid
    out beforehand.
    """
    home, source = folder / "instamatic", packages_of(python) / "config"
    for part in ("microscope", "calibration", "camera"):
        shutil.copytree(source / part, home / "config" / part)
    for part in ("scripts", "alignments"):
        shutil.copytree(source / part, home / part)
    (home / "logs").mkdir()
    shutil.copy(source / "defaults.yaml", home / "config" / "defaults.yaml")
    settings = (source / "settings.yaml").read_text()
    settings = settings.replace("tem_communication_protocol: 'pickle'", "tem_communication_protocol: 'json'")
    settings = settings.replace("'localhost'", "'127.0.0.1'").replace("C:/instamatic", str(home))
    settings = settings.replace("tem_server_port: 8088", f"tem_server_port: {port}")
    assert "'json'" in settings
    assert str(port) in settings
    (home / "config" / "settings.yaml").write_text(settings)
    environment = os.environ | {"AppData": str(folder)}
    environment.pop("PYTHONPATH", None)
    command = [python, "-m", "instamatic.server.tem_server"]
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
    try:
        yield server
    finally:
        server.kill()
        server.wait(10)
        log.close()
