"""ASGI middleware, one idea a file; application.py puts them in order. Deny by default.

Starlette's own middleware is used where it does the same. It does not here: TrustedHostMiddleware answers 400 as text,
where clients of this server are told 421 in the shape of their dialect, and it does not know bracketed IPv6 addresses;
AuthenticationMiddleware has no scopes that are declared by route and no keys that change while the server runs;
ServerErrorMiddleware and ExceptionMiddleware know one shape of errors for all paths. GZip is left to a proxy: answers
are small, and a compressed answer to a signed-in page could be guessed at by its length (BREACH).
"""
