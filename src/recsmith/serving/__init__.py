"""The server: live histories, rules, experiments, and everything that happens around an answer."""
