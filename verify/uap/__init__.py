"""One perturbation for many samples: universal adversarial perturbations, and bounds on how many any of them fools."""
