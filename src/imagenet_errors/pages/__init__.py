"""Pages of HTML that need no network: what one model gets wrong."""
