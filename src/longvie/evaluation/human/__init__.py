"""A blind, balanced ranking of videos by people: the study, its page, its votes and its scores."""
