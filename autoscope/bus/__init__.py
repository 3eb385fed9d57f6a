"""The wire between the agent and the instrument: protocol, client, server, keys, watchdog; the only room with zmq."""
