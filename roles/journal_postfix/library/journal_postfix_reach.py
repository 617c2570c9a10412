#!/usr/bin/python3
"""Tell whether a PostgreSQL elsewhere can be used: its name, its TLS certificate, and the login if there is a driver.

Takes what the service will connect with; changes nothing. Without psycopg2 (a host that nothing was installed on yet)
it goes as far as TLS: it asks for it as libpq does, and verifies the certificate and its name.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: journal_postfix_reach
short_description: Tell whether a PostgreSQL server can be used from here
options:
  host: {type: str, required: true, description: Its name.}
  port: {type: int, required: true, description: Its port.}
  database: {type: str, required: true, description: The database.}
  user: {type: str, required: true, description: The login.}
  password: {type: str, required: true, description: Its password.}
  ca: {type: path, required: true, description: File of the certificate authorities.}
author: [journal-postfix]
"""
EXAMPLES = r"""
- name: Try the database
  journal_postfix_reach:
    host: db1.example.org
    port: 5432
    database: journal_postfix
    user: journal-postfix
    password: "{{ journal_postfix_database_password }}"
    ca: /etc/ssl/certs/ca-certificates.crt
"""

TIMEOUT_S = 10
# PostgreSQL's manual, "Message Formats": SSLRequest.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def tls_problem(host: str, port: int, ca: str) -> str | None:
    """Ask for TLS and verify the certificate; give what is wrong, or None."""
    try:
        context = ssl.create_default_context(cafile=ca)
        # Python 3.13 is stricter than libpq about what an authority's certificate says of itself.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    except (OSError, ssl.SSLError) as error:
        return f"journal_postfix_database_ca: cannot read {ca} ({error}); put the authority's certificate there"
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
            plain.sendall(SSL_REQUEST)
            if plain.recv(1) != b"S":
                return f"{host}:{port} offers no TLS; is it PostgreSQL, with ssl = on?"
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        return (
            f"{host}:{port}: its certificate is not trusted ({error.verify_message}); see journal_postfix_database_ca"
        )
    except OSError as error:
        return f"journal_postfix_database_host: {host}:{port} cannot be reached ({error}); is that its name?"


def login_problem(parameters: dict[str, Any]) -> str | None:
    """Log in as the service will; give what is wrong, or None, also where no driver is installed."""
    try:
        import psycopg2
    except ImportError:
        return None
    try:
        psycopg2.connect(
            host=parameters["host"],
            port=parameters["port"],
            dbname=parameters["database"],
            user=parameters["user"],
            password=parameters["password"],
            sslmode="verify-full",
            sslrootcert=parameters["ca"],
            connect_timeout=TIMEOUT_S,
        ).close()
    except psycopg2.OperationalError as error:
        reason = (str(error).strip() or "no reason given").splitlines()[-1]
        return (
            f"{parameters['host']}:{parameters['port']} refuses the login {parameters['user']} ({reason}); is "
            "journal_postfix_database_password right, and was the play run for the database server?"
        )
    return None


def main() -> None:
    """Try, and fail with what to do."""
    names = ("host", "database", "user")
    module = AnsibleModule(
        argument_spec={
            **{name: {"type": "str", "required": True} for name in names},
            "port": {"type": "int", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "ca": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    problem = tls_problem(given["host"], given["port"], given["ca"]) or login_problem(given)
    if problem:
        module.fail_json(msg=problem)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
