"""The two networks: noise generator and surrogate, their prompts, weights and the budget."""
