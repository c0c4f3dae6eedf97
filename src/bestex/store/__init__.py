"""Where truth lives: orders, their events and attempts, on disk before anyone is told."""
