"""A server's tasks from Python, without the libraries that answer: httpx is all that it needs.

with Client("http://127.0.0.1:8000") as client:
    [answer] = client.predict("risk-triage", ["my card was stolen"])
"""

from loratory.errors import ServerError, make_missing_extra

try:
    from loratory.client.async_client import AsyncClient
    from loratory.client.results import Answer, Generation
    from loratory.client.retries import RetryPolicy
    from loratory.client.sync_client import Client
except ModuleNotFoundError as problem:
    if problem.name != "httpx":
        raise
    raise make_missing_extra("httpx", "client") from None

__all__ = ["Answer", "AsyncClient", "Client", "Generation", "RetryPolicy", "ServerError"]
