"""The whole engine in a world that we control: virtual time, seeded faults, crashes at every step. See README.md."""
