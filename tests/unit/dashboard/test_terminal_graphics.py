"""Which terminals get images in pixels: asked in a terminal of the test's own, which answers as real ones do."""

import os
import pty
import re
import select
import subprocess
import sys
import termios

import pytest

from autoscope.dashboard.pixels import pixel_widget
from autoscope.errors import PluginError

ASKING = (
    "from autoscope.dashboard.pixels import pixel_widget\n"
    "widget = pixel_widget({images!r})\n"
    "print('<<' + (widget.__name__ + ' of ' + widget._Renderable.__module__ if widget else 'half blocks') + '>>')"
)
KITTY_QUERY = re.compile(rb"\x1b_G[^\x1b]*i=(\d+)[^\x1b]*\x1b\\")
PLAIN = b"\x1b[?62;22c"
SIXEL = b"\x1b[?62;4;22c"


def asked(images, *, kitty, attributes, version, size=(24, 80)):
    """Return what a process decides whose terminal answers so."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, size)
    process = subprocess.Popen(
        [sys.executable, "-c", ASKING.format(images=images)], stdin=slave, stdout=slave, stderr=subprocess.PIPE
    )
    os.close(slave)
    said, answered = b"", set()
    while b">>" not in said:
        ready, _, _ = select.select([master], [], [], 60)
        assert ready, said
        try:
            said += os.read(master, 4096)
        except OSError:
            break
        query = KITTY_QUERY.search(said)
        for name, seen, answer in (
            ("kitty", query, b"\x1b_Gi=%s;OK\x1b\\" % query[1] if query and kitty else b""),
            ("attributes", b"\x1b[c" in said, attributes),
            ("version", b"\x1b[>q" in said, b"\x1bP>|" + version + b"\x1b\\" if version else b""),
        ):
            if seen and name not in answered:
                answered.add(name)
                os.write(master, answer)
    error = process.communicate()[1].decode()
    os.close(master)
    assert process.returncode == 0, error
    return re.search(rb"<<(.*)>>", said)[1].decode()


@pytest.mark.parametrize(
    ("terminal", "drawn"),
    [
        ({"kitty": True, "attributes": PLAIN, "version": b"kitty(0.35.2)"}, "tgp"),
        ({"kitty": True, "attributes": PLAIN, "version": b"ghostty 1.1.0"}, "tgp"),
        ({"kitty": True, "attributes": PLAIN, "version": b"kitty(0.26.5)"}, "half blocks"),
        ({"kitty": True, "attributes": PLAIN, "version": b"Konsole 22.12.3"}, "half blocks"),
        ({"kitty": False, "attributes": SIXEL, "version": b"XTerm(379)"}, "sixel"),
        ({"kitty": False, "attributes": PLAIN, "version": b""}, "half blocks"),
        ({"kitty": True, "attributes": PLAIN, "version": b"kitty(0.35.2)", "size": (0, 0)}, "half blocks"),
    ],
    ids=["kitty", "ghostty", "kitty before placeholders", "konsole", "sixel", "plain", "without a size"],
)
def test_pixels_are_used_where_the_terminal_keeps_images_in_place(terminal, drawn):
    assert drawn in asked("auto", **terminal)


def test_a_protocol_asked_for_is_used_whatever_the_terminal_says():
    terminal = {"kitty": False, "attributes": PLAIN, "version": b""}
    assert "sixel" in asked("sixel", **terminal)
    assert "tgp" in asked("kitty", **terminal)
    assert pixel_widget("blocks") is None


def test_a_protocol_asked_for_without_the_extra_is_an_error_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "textual_image", None)
    assert pixel_widget("auto") is None
    with pytest.raises(PluginError, match="terminal-images"):
        pixel_widget("sixel")
