"""The server: middleware, authentication, routes and their OpenAPI document."""
