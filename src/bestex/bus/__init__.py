"""What may be lost: wake-ups, and the fan-out of events to whoever watches."""
