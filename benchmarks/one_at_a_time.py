"""The baseline of `capacity.py`: a server that speaks one sequence at a time, as a lock around the model does.

    python benchmarks/one_at_a_time.py --port 8765

Our own server but for three things: its engine has one slot, nobody is paced, and nobody is refused: whoever finds the
engine taken waits.  Protocol, weights and every tuned operation are the same, and sound comes in the same small pieces
rather than whole sentences, so it is better than most servers that are built this way.
"""

import argparse
import asyncio
from functools import partial

from stream_server.config import CheckedLimits, ServerConfig
from stream_server.engine.admission import Admission
from stream_server.engine.client import Engine
from stream_server.engine.process import ProcessEngine
from stream_server.loading import make_core
from stream_server.transports.house import House
from stream_server.transports.server import make_server

EVERYBODY = 1000
UNPACED_S = 3600.0


class OpenDoor(Admission):
    def room(self, capacity: int) -> int:
        return EVERYBODY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    asyncio.run(serve(parser.parse_args().port))


async def serve(port: int) -> None:
    limits = CheckedLimits(lead_s=UNPACED_S, queue=EVERYBODY)
    settings = ServerConfig(port=port, slots=1, limits=limits, log_level="warning")
    engine = Engine(ProcessEngine(partial(make_core, settings)))
    engine.admission = OpenDoor()
    await engine.start()
    try:
        await make_server(House(engine, settings.limits), settings.host, settings.port).serve()
    finally:
        await engine.stop()


if __name__ == "__main__":
    main()
