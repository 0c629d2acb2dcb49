"""A link between processes that can be slow, lossy or cut, as `tc netem` makes them, without root.

A lost packet of TCP is one that comes later, and all behind it too: loss is a share of pieces that
come LATE seconds later. A link that is cut takes what is sent and keeps it until it is whole again;
who connects meanwhile is not refused, and hears nothing.
"""
import asyncio
import random
import threading

LATE = 0.2  # seconds: what a sender waits before it sends again
PIECE = 65536


class Link:
    """From a port of its own, self.port, to another one of 127.0.0.1. The properties may be set at
    any time; delay is in seconds and each way."""

    def __init__(self, target):
        self.target, self.port = target, 0
        self.delay, self.loss, self.cut = 0.0, 0.0, False
        self.random = random.Random(1)
        started = threading.Event()
        threading.Thread(target=self.run, args=(started,), daemon=True).start()
        started.wait()

    @property
    def address(self):
        return f'127.0.0.1:{self.port}'

    def run(self, started):
        asyncio.run(self.serve(started))

    async def serve(self, started):
        server = await asyncio.start_server(self.connected, '127.0.0.1', 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await server.serve_forever()

    async def connected(self, reader, writer):
        while self.cut:
            await asyncio.sleep(0.01)
        try:
            far_reader, far_writer = await asyncio.open_connection('127.0.0.1', self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.carry(reader, far_writer), self.carry(far_reader, writer))

    async def carry(self, reader, writer):
        """What comes is put on the way with the time when it is due; never one before another."""
        queue = asyncio.Queue(64)
        deliverer = asyncio.create_task(self.deliver(queue, writer))
        loop = asyncio.get_running_loop()
        due, piece = 0.0, b' '
        while piece:
            try:
                piece = await reader.read(PIECE)
            except OSError:
                piece = b''
            late = LATE if self.random.random() < self.loss else 0.0
            due = max(due, loop.time() + self.delay + late)
            await queue.put((due, piece))
        await deliverer

    async def deliver(self, queue, writer):
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            while self.cut:
                await asyncio.sleep(0.01)
            try:
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
            except OSError:
                return
