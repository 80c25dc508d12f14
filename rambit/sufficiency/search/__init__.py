"""The searches: generators that yield masks and are told how far these are above the threshold."""
