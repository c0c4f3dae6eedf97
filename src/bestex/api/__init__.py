"""The front door: HTTP and WebSocket."""
