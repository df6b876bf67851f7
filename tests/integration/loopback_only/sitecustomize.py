"""On PYTHONPATH, Python imports this first: sockets then reach loopback only, and what wants more is noted.

``GUARD_LOG`` is the file for notes; ``GUARD_PROXY`` replaces the proxy that mediapipe's reports are diverted to.
"""

import errno
import os
import socket

LOCAL = ("127.0.0.1", "::1", "localhost", "", None)


def refuse(what):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{what}\n")
    raise OSError(errno.ENETUNREACH, "only loopback in this test")


def guard(name, place):
    original = getattr(socket.socket, name)

    def guarded(self, *args):
        if self.family in (socket.AF_INET, socket.AF_INET6) and args[place][0] not in LOCAL:
            refuse(f"{name} {args[place]}")
        return original(self, *args)

    setattr(socket.socket, name, guarded)


def getaddrinfo(host, *args, **options):
    if host not in (*LOCAL, socket.gethostname()):
        refuse(f"getaddrinfo {host}")
    return resolve(host, *args, **options)


def putenv_for_the_test(name, value):
    putenv(name, os.environ["GUARD_PROXY"] if name == "https_proxy" else value)


for method, place_of_address in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
    guard(method, place_of_address)
resolve, putenv = socket.getaddrinfo, os.putenv
socket.getaddrinfo, os.putenv = getaddrinfo, putenv_for_the_test
