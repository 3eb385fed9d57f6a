"""``python -m tests.fault.proxy LISTEN TARGET COUNT``: a bad network before ports in a row, told what to do on stdin.

::

    pass          forward at once
    delay 0.3     forward later, in order
    hold          forward nothing more, and let nobody know: what a pulled cable looks like from either end
    refuse        reset every connection and every new one
    cut           reset every connection; new ones are as before

Each line is answered ``ok`` when it holds. What was held is forwarded when it passes again, as a network may do.
"""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys

from tests.fault.served import ROOT

CHUNK_BYTES = 65536


class Network:
    """Everything between two computers."""

    def __init__(self):
        self.delay_s, self.refusing = 0.0, False
        self.open = asyncio.Event()
        self.open.set()
        self.writers = set()

    def tell(self, words):
        match words:
            case ["pass"]:
                self.delay_s, self.refusing = 0.0, False
                self.open.set()
            case ["delay", seconds]:
                self.delay_s = float(seconds)
            case ["hold"]:
                self.open.clear()
            case ["refuse"]:
                self.refusing = True
                self.cut()
            case ["cut"]:
                self.cut()
            case _:
                raise ValueError(words)

    def cut(self):
        for writer in list(self.writers):
            _reset(writer)
        self.writers.clear()

    async def serve(self, port, target):
        async def connected(reader, writer):
            if self.refusing:
                _reset(writer)
                return
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            except OSError:
                _reset(writer)
                return
            self.writers |= {writer, far_writer}
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

        return await asyncio.start_server(connected, "127.0.0.1", port)

    async def _pump(self, reader, writer):
        line = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def forward():
            while (item := await line.get()) is not None:
                due_s, data = item
                await asyncio.sleep(max(due_s - loop.time(), 0.0))
                await self.open.wait()
                writer.write(data)
                await writer.drain()

        task = asyncio.create_task(forward())
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                line.put_nowait((loop.time() + self.delay_s, data))
        line.put_nowait(None)
        with contextlib.suppress(OSError):
            await task
        self.writers.discard(writer)
        writer.close()


def _reset(writer):
    """Close a connection as a device that has forgotten it does: with a reset, not with a farewell."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main(listen, target, count):
    network = Network()
    kept = [await network.serve(listen + k, target + k) for k in range(count)]
    assert len(kept) == count
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        network.tell(line.decode().split())
        print("ok", flush=True)
    os._exit(0)  # as a device does that is switched off


class Proxy:
    """A bad network in a process of its own, before a server."""

    def __init__(self, listen, target, count=5):
        self.address = f"tcp://127.0.0.1:{listen}"
        command = [sys.executable, "-m", "tests.fault.proxy", str(listen), str(target), str(count)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stdout.readline() == "ready\n"

    def tell(self, line):
        self._process.stdin.write(f"{line}\n")
        assert self._process.stdout.readline() == "ok\n"

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
