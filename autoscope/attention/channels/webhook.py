"""A POST of JSON, signed where a secret is shared."""

from __future__ import annotations

import hashlib
import hmac
import http.client
from urllib.parse import quote, urlsplit

from autoscope import __version__
from autoscope.attention.channels.conversing import GRACE_S, bounded, trusted
from autoscope.attention.channels.credentials import from_variable
from autoscope.attention.config import WebhookConfig, web_address
from autoscope.attention.message import Message
from autoscope.errors import ConfigError, NotDelivered

SIGNATURE = "X-Autoscope-Signature"
NOTICE = "X-Autoscope-Notice"


def signature(body: bytes, secret: str) -> str:
    """Return the value of the signature's header: HMAC-SHA256 of the body (RFC 2104) as ``sha256=HEX``.

    Examples
    --------
    >>> signature(b"{}", "key")[:20]
    'sha256=a777724d943eb'
    """
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhook:
    """Posts each notice; any answer 2xx is taken for delivered, redirections are not followed.

    Parameters
    ----------
    config : WebhookConfig
        Where, and with which secret.

    Raises
    ------
    ConfigError
        The address or the secret is not there.
    """

    def __init__(self, config: WebhookConfig) -> None:
        address = config.url or from_variable(config.url_env or "")
        try:
            self._url = urlsplit(web_address(address))
        except ValueError as error:
            raise ConfigError(str(error), where=config.url_env or "url") from error
        self._secret = from_variable(config.secret_env) if config.secret_env else None
        self._timeout_s, self._context = config.timeout_s, trusted(config.ca_file)

    def send(self, message: Message) -> None:
        """Post a message; see `Way.send`."""
        body, where = message.json(), f"{self._url.scheme}://{self._url.hostname}"  # its path may be secret
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"autoscope/{__version__}",
            NOTICE: quote(message.id, safe="/:+"),  # run names may be in any language
        }
        if self._secret is not None:
            headers[SIGNATURE] = signature(body, self._secret)
        connection = self._connection()
        try:
            with bounded(self._timeout_s, lambda: connection.sock, where):
                path = f"{self._url.path or '/'}{'?' if self._url.query else ''}{self._url.query}"
                connection.request("POST", path, body, headers)
                status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise NotDelivered(f"does not answer as a web server does: {type(error).__name__}", where=where) from error
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise NotDelivered(f"the server answered {status}", where=where, remedy=_remedy(status))

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s + GRACE_S, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s + GRACE_S)


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Check the secret and its variable"
    if status in (404, 410) or 300 <= status < 400:
        return "Check the address"
    return ""
