"""The searches: generators that yield masks and receive how far these are above the threshold."""
