"""What may be lost: wake-ups and the live fan-out of events."""
