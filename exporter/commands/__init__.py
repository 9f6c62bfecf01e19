"""Commands that a person types and waits for: one module each, and what they share."""
