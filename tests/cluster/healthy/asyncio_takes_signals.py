"""An asyncio loop handles the signals and uses Python's wakeup descriptor; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import asyncio
import os
import signal

from _group import add_up, end_well, join


async def main() -> None:
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGUSR1, signal.SIGTERM):
        loop.add_signal_handler(number, came.set)
        os.kill(os.getpid(), number)
        await came.wait()
        came.clear()
    process = await asyncio.create_subprocess_exec("false")
    assert await process.wait() == 1
    await asyncio.to_thread(add_up)


join()
asyncio.run(main())
add_up()
end_well()
