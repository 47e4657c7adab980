"""A real SMTP server on loopback that wants STARTTLS and a login, and keeps what it is given as files.

smtp_server.py CERTIFICATE KEY DIRECTORY: prints its port, and runs until its standard input ends.
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Keep:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        head = f"X-Envelope: {envelope.mail_from} {' '.join(envelope.rcpt_tos)}\r\n".encode()
        part = self.directory / f"{self.count:03}.part"
        part.write_bytes(head + envelope.original_content)
        part.rename(part.with_suffix(".eml"))
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"heliometer", b"smtp-password"))


async def main(certificate, key, directory):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    keep = Keep(directory)
    loop = asyncio.get_running_loop()

    def connection():
        options = {"tls_context": context, "require_starttls": True, "auth_required": True}
        return SMTP(keep, hostname="localhost", authenticator=authenticate, loop=loop, **options)

    server = await loop.create_server(connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
