"""Training against the inner maximum: adversarial training from lower bounds, certified training from upper bounds."""
