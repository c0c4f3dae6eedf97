"""The whole deployment on this machine, without Docker: for development, tests and benchmarks."""
