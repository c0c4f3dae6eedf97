"""`bestex demo`: a server, some orders, and what becomes of them, in one terminal."""
