"""Experiments of several variants and seeds: what is asked, what is still to be run, running it, and what came out."""
