"""Official networks in plain torch: each file holds one, named part by part as its published checkpoint names it."""
