"""Results as one page: a file that holds all it shows, needs no network, and says the same for the same results."""
