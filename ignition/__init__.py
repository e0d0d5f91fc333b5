"""ignition: an event-driven training engine that keeps runs stable and proves it."""
