"""nn.Module classes only: a net knows no loss."""
