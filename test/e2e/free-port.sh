#!/bin/sh
# Print a port on loopback that nobody uses.
exec python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
