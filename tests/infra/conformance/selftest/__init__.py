"""Tests of the suite itself: each rule is broken once, and exactly that rule must say so in a sentence."""
