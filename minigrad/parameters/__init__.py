"""Parameters: values and gradients, and the flat vector that owns their memory."""
